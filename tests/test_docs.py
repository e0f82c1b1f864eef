"""The examples of the pages, run from top to bottom, page by page."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if "_build" not in path.parts
)
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.slow


def run_page(text: str, name: str) -> int:
    """Run the examples of a page in one namespace; return their number."""
    names: dict = {"__name__": "__main__"}
    parser, count = doctest.DocTestParser(), 0
    for match in EXAMPLE.finditer(text):
        code, line = match[1], text[: match.start(1)].count("\n")
        if ">>>" in code:
            test = parser.get_doctest(code, names, name, name, line)
            names.update(run_prompts(test))
        else:
            exec(compile("\n" * line + code, name, "exec"), names)
        count += 1
    return count


def run_prompts(test: doctest.DocTest) -> dict:
    """Run `>>>` lines and return the names they leave."""
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.append, clear_globs=False)
    if runner.failures:
        raise AssertionError("".join(report))
    return test.globs


def run_with(page: str):
    """A guide trains a large net: it runs with the claims."""
    long = page == "docs/guides/private_resnet50.md"
    return pytest.param(page, marks=pytest.mark.claim if long else ())


@pytest.mark.parametrize("page", [run_with(page) for page in PAGES])
def test_examples_of_the_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / page).read_text(encoding="utf-8")
    methods = page.startswith("docs/methods/") or page == "README.md"
    assert run_page(text, page) >= int(methods)


def test_a_wrong_example_is_noticed():
    wrong = "```python\n>>> x = 1\n>>> x + 1\n3\n```\n"
    with pytest.raises(AssertionError, match="Expected"):
        run_page(wrong, "wrong.md")


def test_examples_of_a_page_share_their_names():
    page = "```python\nx = 1\n```\n\n```python\n>>> x\n1\n```\n"
    assert run_page(page, "shared.md") == 2


def test_the_readme_shows_every_method_that_has_a_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8").lower()
    for page in (ROOT / "docs" / "methods").glob("*.md"):
        title = page.read_text(encoding="utf-8").splitlines()[0]
        first_word = title.removeprefix("# ").split()[0].lower()
        assert first_word in readme, f"{page.name} is not in the README"
