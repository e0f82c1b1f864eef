"""What an audit found: a line for each check, as table, numbers or picture."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Args:
        check: what was checked, in a few words.
        passed: whether it is as it should be; `None` if nothing was claimed.
        measured: the figure that was found.
        allowed: the bound on it, or the figure that was claimed.
        interval: `(low, high)` of what was measured, if it is an estimate.
        note: what else is worth knowing.
    """

    check: str
    passed: bool | None
    measured: float
    allowed: float | None = None
    interval: tuple[float, float] | None = None
    note: str = ""


@dataclass(frozen=True)
class AuditReport:
    """The findings of one audit or several.

    Prints as a table. `report.passed` is what a test asserts; an audit that
    passes has found nothing, which is no proof that there is nothing.

    Args:
        findings: tuple of `Finding`.
        title: what was audited.

    Example:
        >>> report = AuditReport((Finding("noise", True, 1.01, 1.0),), "a net")
        >>> report.passed, len(report)
        (True, 1)
        >>> print(report)
        a net: passed
        check  measured  allowed  interval  verdict
        noise      1.01        1            passed
    """

    findings: tuple[Finding, ...] = field(default=())
    title: str = "audit"

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(each.passed is not False for each in self.findings)

    @property
    def failures(self) -> list[str]:
        """The names of the checks that failed."""
        return [f.check for f in self.findings if f.passed is False]

    def __len__(self) -> int:
        return len(self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __getitem__(self, check: str) -> Finding:
        found = [each for each in self.findings if each.check == check]
        if not found:
            known = [each.check for each in self.findings]
            raise KeyError(
                f"The check {check!r} came. This audit made {known}. Name one "
                "of them."
            )
        return found[0]

    def __add__(self, other: "AuditReport") -> "AuditReport":
        return AuditReport((*self.findings, *other.findings), self.title)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values; what is not finite becomes `None`."""
        findings = [_finite(asdict(each)) for each in self.findings]
        return {
            "title": self.title,
            "passed": self.passed,
            "findings": findings,
        }

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def __str__(self) -> str:
        head = ("check", "measured", "allowed", "interval", "verdict")
        rows = [head, *(_cells(each) for each in self.findings)]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = [f"{self.title}: {'passed' if self.passed else 'FAILED'}"]
        for row in rows:
            cells = [row[0].ljust(widths[0])]
            cells += [row[i].rjust(widths[i]) for i in (1, 2)]
            cells += [row[3].ljust(widths[3]), row[4]]
            lines.append("  ".join(cells).rstrip())
        notes = {each.note for each in self.findings if each.note}
        return "\n".join([*lines, *sorted(notes)])

    def plot(self) -> Any:
        """Draw each figure against what was allowed.

        Returns:
            A matplotlib figure, one row for each check.

        Raises:
            ImportError: if matplotlib is not installed.
        """
        from tfdeep.visualization.audit import draw_audit

        return draw_audit(self)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cells(finding: Finding) -> tuple[str, str, str, str, str]:
    words = {True: "passed", False: "FAILED", None: "-"}
    shown = finding.interval
    return (
        finding.check,
        f"{finding.measured:.4g}",
        "" if finding.allowed is None else f"{finding.allowed:.4g}",
        "" if shown is None else f"[{shown[0]:.4g}, {shown[1]:.4g}]",
        words[finding.passed],
    )
