"""Optimizers around optimizers."""

from tfdeep.optimizers.wrapper import OptimizerWrapper

__all__ = ["OptimizerWrapper"]
