"""The notebooks in `examples/` are the guides, run."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))


def load_script():
    path = ROOT / "docs" / "notebooks.py"
    spec = importlib.util.spec_from_file_location("notebooks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


notebooks = load_script()


def read(guide: Path) -> dict:
    path = ROOT / "examples" / f"{guide.stem}.ipynb"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_notebook_has_the_cells_of_its_guide(guide):
    stored = [
        (cell["cell_type"], "".join(cell["source"]))
        for cell in read(guide)["cells"]
    ]
    assert stored == notebooks.cells(guide), (
        f"examples/{guide.stem}.ipynb is not its guide. Call make notebooks."
    )


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_notebook_was_run_from_top_to_bottom(guide):
    code = [c for c in read(guide)["cells"] if c["cell_type"] == "code"]
    counts = [cell["execution_count"] for cell in code]
    assert counts == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert outputs
    kinds = {output["output_type"] for output in outputs}
    assert kinds <= {"stream", "execute_result", "display_data"}
    assert not re.search(r"/(home|root|work|tmp|usr)/", json.dumps(outputs))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_results_in_the_notebook_are_those_of_the_guide(guide):
    text = guide.read_text(encoding="utf-8")
    blocks = [block[1] for block in notebooks.BLOCK.finditer(text)]
    wanted = [
        example.want.split()
        for block in blocks
        if ">>>" in block
        for example in notebooks.doctest.DocTestParser().get_examples(block)
        if example.want
    ]
    shown = [
        "".join(output["data"]["text/plain"]).split()
        for cell in read(guide)["cells"]
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
        if output["output_type"] == "execute_result"
    ]
    assert shown == wanted


def test_no_notebook_is_left_of_a_guide_that_is_gone():
    kept = {path.stem for path in (ROOT / "examples").glob("*.ipynb")}
    assert kept == {guide.stem for guide in GUIDES}


def test_cells_of_a_page(tmp_path):
    guide = tmp_path / "guide.md"
    guide.write_text(
        "# Title\n\nSee [a](../methods/a.md), [b](b.md), [c](https://c).\n\n"
        "```python\n>>> x = 1\n>>> x\n1\n>>> y = 2\n```\n\nThe end.\n"
    )
    assert notebooks.cells(guide) == [
        (
            "markdown",
            "# Title\n\nSee [a](../docs/methods/a.md), "
            "[b](../docs/guides/b.md), [c](https://c).",
        ),
        ("code", "x = 1\nx"),
        ("code", "y = 2"),
        ("markdown", "The end."),
    ]
