"""Guests of any `fit`: they watch a model train, or make it smaller."""

from tfdeep.callbacks.entropy_monitor import BatchEntropyMonitor
from tfdeep.pruning.scheduler import PruningScheduler
from tfdeep.pruning.taylor_scheduler import TaylorPruningScheduler

__all__ = [
    "BatchEntropyMonitor",
    "PruningScheduler",
    "TaylorPruningScheduler",
]
