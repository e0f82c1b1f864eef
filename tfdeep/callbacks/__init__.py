"""Guests of any `fit`: what watches a model, and what changes it over time."""

from tfdeep.callbacks.entropy_monitor import BatchEntropyMonitor
from tfdeep.linearization.scheduler import LinearizationScheduler

__all__ = ["BatchEntropyMonitor", "LinearizationScheduler"]
