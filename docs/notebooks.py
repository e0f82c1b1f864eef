"""The guides as notebooks that were run, in `examples/`.

    python docs/notebooks.py [NAME ...]

A guide in docs/guides is the one source. Each of its Python blocks becomes a
cell; of `>>>` lines the prompts and printed results are left out, and a cell
ends where a result was printed. Running needs nbformat, nbclient and ipykernel
(`pip install "tfdeep[notebooks]"`); `cells` needs none of them, so that a test
can compare guides and notebooks.
"""

import doctest
import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ROOT / "docs" / "guides"
EXAMPLES = ROOT / "examples"

BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
# What TensorFlow says on standard error of its devices and files.
LOG_LINE = re.compile(r"(I\d{4} |INFO:tensorflow:|WARNING: All log).*\n?")


def cells(guide: Path) -> list[tuple[str, str]]:
    """The cells of a guide, each ("markdown" or "code", its text)."""
    text, found, end = guide.read_text(encoding="utf-8"), [], 0
    for block in BLOCK.finditer(text):
        found.append(("markdown", _for_examples(text[end : block.start()])))
        found.extend(("code", code) for code in _code_cells(block[1]))
        end = block.end()
    found.append(("markdown", _for_examples(text[end:])))
    return [(kind, text.strip()) for kind, text in found if text.strip()]


def _code_cells(block: str) -> list[str]:
    if ">>>" not in block:
        return [block]
    done, lines = [], ""
    for example in doctest.DocTestParser().get_examples(block):
        lines += example.source
        if example.want:
            done.append(lines)
            lines = ""
    return [*done, lines]


def _for_examples(text: str) -> str:
    """Links as they are from `examples/`."""
    text = re.sub(
        r"\]\((?!\.\./|https?:|#)(.+?)\)", r"](../docs/guides/\1)", text
    )
    return re.sub(r"\]\(\.\./(?!docs/)", "](../docs/", text)


def notebook(guide: Path):
    """The notebook of a guide, not yet run."""
    from nbformat import v4

    made = {"markdown": v4.new_markdown_cell, "code": v4.new_code_cell}
    return v4.new_notebook(
        cells=[
            made[kind](text, id=f"cell-{index}")
            for index, (kind, text) in enumerate(cells(guide))
        ],
        metadata={
            "kernelspec": {
                "display_name": "Python 3",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        },
    )


def run(guide: Path) -> Path:
    """Run the notebook of a guide and write it into `examples/`."""
    import nbformat
    from nbclient import NotebookClient

    made = notebook(guide)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            made,
            timeout=None,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        ).execute()
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs = [kept for kept in map(_tidy, cell.outputs) if kept]
    EXAMPLES.mkdir(exist_ok=True)
    path = EXAMPLES / f"{guide.stem}.ipynb"
    nbformat.validate(made)
    nbformat.write(made, path)
    return path


def _tidy(output):
    """The output without log lines; anything else on standard error fails."""
    if output.output_type != "stream":
        return output
    output.text = LOG_LINE.sub("", output.text)
    if output.name == "stderr" and output.text.strip():
        raise SystemExit(f"A cell wrote on standard error:\n{output.text}")
    return output if output.text.strip() else None


def main(names: list[str]) -> None:
    """Run the guides named, or all."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for guide in sorted(GUIDES.glob("*.md")):
        if not names or guide.stem in names:
            print(run(guide).relative_to(ROOT), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
