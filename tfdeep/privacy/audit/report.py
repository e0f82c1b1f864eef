"""What an audit found: a line for each check, as table, numbers or picture."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from tfdeep.report import Report, aligned, warn_of_old_name


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
class AuditReport(Report):
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
                "The check must be one of those that this audit made: "
                f"{known}. Received: {check!r}"
            )
        return found[0]

    def __add__(self, other: "AuditReport") -> "AuditReport":
        return AuditReport((*self.findings, *other.findings), self.title)

    def _content(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "passed": self.passed,
            "findings": [asdict(each) for each in self.findings],
        }

    def to_json(self) -> str:
        """The old way to have the report as JSON."""
        warn_of_old_name("to_json", "save(path)` or `to_dict()")
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        head = ("check", "measured", "allowed", "interval", "verdict")
        rows = [head, *(_cells(each) for each in self.findings)]
        title = f"{self.title}: {'passed' if self.passed else 'FAILED'}"
        lines = [title, aligned(rows, right=(1, 2))]
        notes = {each.note for each in self.findings if each.note}
        return "\n".join([*lines, *sorted(notes)])

    def _figure(self) -> Any:
        """Each figure against what was allowed, a row for each check."""
        from tfdeep.visualization.audit import draw_audit

        return draw_audit(self)


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
