"""Guests of any `fit` that watch a model train."""

from tfdeep.callbacks.entropy_monitor import BatchEntropyMonitor

__all__ = ["BatchEntropyMonitor"]
