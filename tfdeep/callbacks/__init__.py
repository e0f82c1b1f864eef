"""Guests of any `fit`: what watches a model, and what changes it over time."""

from tfdeep.callbacks.entropy_monitor import BatchEntropyMonitor
from tfdeep.linearization.scheduler import LinearizationScheduler
from tfdeep.pruning.scheduler import PruningScheduler
from tfdeep.pruning.taylor_scheduler import TaylorPruningScheduler

__all__ = [
    "BatchEntropyMonitor",
    "LinearizationScheduler",
    "PruningScheduler",
    "TaylorPruningScheduler",
]
