"""The example of the guide runs where TF Privacy is installed."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[3] / "docs/methods/tf_privacy.md"


def test_the_example_of_the_page_runs():
    (code,) = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    exec(compile(code, PAGE.name, "exec"), {})
