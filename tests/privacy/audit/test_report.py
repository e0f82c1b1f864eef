"""A report prints, is plain data, and draws."""

import pytest

from tfdeep.privacy.audit import AuditReport, Finding

GOOD = Finding("removal", True, 0.5, 1.0)
BAD = Finding("noise", False, 0.5, 1.0, (0.4, 0.6), "a note")
OPEN = Finding("area", None, 0.5, None, (0.4, float("inf")))
REPORT = AuditReport((GOOD, BAD, OPEN), "a net")


def test_passes_unless_something_failed():
    assert AuditReport((GOOD, OPEN)).passed
    assert not REPORT.passed
    assert REPORT.failures == ["noise"]


def test_prints_as_a_table():
    lines = str(REPORT).splitlines()
    assert lines[0] == "a net: FAILED"
    assert lines[1].split() == [
        "check", "measured", "allowed", "interval", "verdict",
    ]  # fmt: skip
    assert "FAILED" in lines[3] and "[0.4, 0.6]" in lines[3]
    assert lines[-1] == "a note"


def test_is_plain_data():
    """What is not finite is null, which every reader of JSON knows."""
    shared = {"passed": False, "measured": 0.5, "allowed": 1.0}
    assert REPORT.to_dict() == {
        "title": "a net",
        "passed": False,
        "findings": [
            {"check": "removal", **shared, "passed": True}
            | {"interval": None, "note": ""},
            {"check": "noise", **shared}
            | {"interval": [0.4, 0.6], "note": "a note"},
            {"check": "area", **shared, "passed": None, "allowed": None}
            | {"interval": [0.4, None], "note": ""},
        ],
    }


def test_is_a_sequence_and_a_mapping():
    assert len(REPORT) == 3 and list(REPORT)[1] is BAD
    assert REPORT["noise"] is BAD
    with pytest.raises(KeyError, match="nothing"):
        REPORT["nothing"]


def test_reports_add_up():
    both = AuditReport((GOOD,), "a net") + AuditReport((BAD,), "another")
    assert both.title == "a net" and not both.passed


def test_draws_a_row_for_each_check():
    pytest.importorskip("matplotlib", reason="an extra")
    axes = REPORT.plot().axes[0]
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels == ["removal", "noise", "area"]
