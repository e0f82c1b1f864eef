"""Channels removed from models: smaller ones, whose outputs are known."""

from tfdeep.pruning.call import ChannelCall
from tfdeep.pruning.channels import ChannelGraph
from tfdeep.pruning.criteria import (
    BatchNormScale,
    Correlation,
    Magnitude,
    Oracle,
    Random,
    Scores,
    Taylor,
)
from tfdeep.pruning.groups import ChannelGroup, Member
from tfdeep.pruning.labels import Channels
from tfdeep.pruning.plan import PruningPlan, load_plan
from tfdeep.pruning.prune import prune
from tfdeep.pruning.registry import channel_rule
from tfdeep.pruning.slimming import Slimming
from tfdeep.pruning.taylor_pruning import TaylorPruning
from tfdeep.pruning.verify import Verification, verify

__all__ = [
    "BatchNormScale",
    "ChannelCall",
    "ChannelGraph",
    "ChannelGroup",
    "Channels",
    "Correlation",
    "Magnitude",
    "Member",
    "Oracle",
    "PruningPlan",
    "Random",
    "Scores",
    "Slimming",
    "Taylor",
    "TaylorPruning",
    "Verification",
    "channel_rule",
    "load_plan",
    "prune",
    "verify",
]
