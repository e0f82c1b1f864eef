"""Bars of reports of pruning."""

from tfdeep.visualization.figure import figure
