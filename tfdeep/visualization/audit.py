"""What an audit found, each figure against what was allowed."""

import math
from typing import Any

from tfdeep.visualization.figure import clean, color, new_figure

_PASSED, _FAILED, _OPEN = color(2), color(1), color(6)


def draw_audit(report: Any) -> Any:
    """Draw a row for each check, in units of what was allowed.

    A figure is a point and its interval a line; the bar across all rows is
    what was allowed. Green passed, red failed; what nothing was claimed of is
    black.

    Args:
        report: a `tfdeep.privacy.audit.AuditReport`.

    Returns:
        A matplotlib figure.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    findings = list(report)
    figure = new_figure(6.4, 0.9 + 0.4 * len(findings))
    axes = figure.add_subplot()
    for row, finding in enumerate(findings):
        unit = _unit(finding)
        shade = {True: _PASSED, False: _FAILED, None: _OPEN}[finding.passed]
        value = finding.measured / unit
        if finding.interval is not None:
            low, high = (_inside(each / unit) for each in finding.interval)
            axes.plot([low, high], [row, row], color=shade, lw=1.5)
        axes.plot([_inside(value)], [row], "o", color=shade, ms=5)
    axes.axvline(1.0, color=_OPEN, lw=1.0, ls=":")
    axes.set_yticks(range(len(findings)), [each.check for each in findings])
    axes.set_ylim(len(findings) - 0.5, -0.5)
    axes.set_xlim(0.0, 2.05)
    axes.set_xlabel("measured / allowed")
    axes.set_title(report.title)
    clean(axes, grid="x")
    return figure


def _unit(finding: Any) -> float:
    """What a figure is drawn in units of."""
    return finding.allowed or 1.0


def _inside(value: float) -> float:
    """A value within the axes; at their end if it is beyond."""
    return min(max(value, 0.0), 2.0) if not math.isnan(value) else 2.0
