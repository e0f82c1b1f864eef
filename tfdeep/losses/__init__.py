"""Losses for `compile`."""

from tfdeep.losses.margin import MarginLoss, margin_loss

__all__ = ["MarginLoss", "margin_loss"]
