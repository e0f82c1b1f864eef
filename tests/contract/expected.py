"""What fails today, each with its reason; what mends it takes it out.

A case that begins to pass fails the run (`strict`), so this list is true.
"""

import pytest

FAILING: dict[str, dict] = {}


def failing(use: str, cases: list) -> list:
    """The cases, those that fail today marked with the reason."""
    reasons = FAILING.get(use, {})
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=pytest.mark.xfail(reason=reasons[case], strict=True),
        )
        if case in reasons
        else case
        for case in cases
    ]
