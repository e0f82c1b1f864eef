"""Settings of the documentation; `make docs` builds it."""

import contextlib
import inspect
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


@contextlib.contextmanager
def nothing_on_stderr():
    """TensorFlow reports on its devices there, whatever its log level."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


with nothing_on_stderr():
    import tfdeep

from papers import link  # noqa: E402

project = "tfdeep"
author = "The tfdeep authors"
copyright = "The tfdeep authors"
version = release = tfdeep.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "reference",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"tfdeep {release}"
# Docstrings mark code with single backquotes.
default_role = "code"
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
# What is copied is what one types.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_member_order = "bysource"
# Keras' own docstrings are Markdown and belong to Keras' reference.
autodoc_inherit_docstrings = False
autodoc_default_options = {
    "members": True,
    "imported-members": True,
    "show-inheritance": True,
}
napoleon_numpy_docstring = False
napoleon_custom_sections = [
    ("Call arguments", "params_style"),
    "Input shape",
    "Output shape",
    "Reference",
]

# Names whose documentation lies elsewhere.
nitpick_ignore_regex = [
    (r"py:.*", r"(keras|numpy|tensorflow|jax|os)\..*"),
    # Bases that layers share, and no user needs.
    (r"py:class", r"tfdeep\.layers\.frozen_parts\.KeepsFrozenParts"),
    (r"py:class", r"tfdeep\.layers\.units\.ConvUnits"),
    (r"py:class", r"tfdeep\.layers\.reversible_layer\.ReversibleLayer"),
    (r"py:class", r"tfdeep\.privacy\.clipping\.Clipping"),
    (r"py:class", r"tfdeep\.privacy\.frozen\.Frozen"),
    (r"py:class", r"tfdeep\.privacy\.private_\w+\.Private\w+"),
    (r"py:class", r"tfdeep\.privacy\.sampling\.PoissonBatches"),
    (r"py:class", r"tfdeep\.layers\.seed_state\.SavesSeedState"),
    (r"py:class", r"tfdeep\.training\.wrapper\.TrainingWrapper"),
    # What reports have in common, and what functions return.
    (r"py:class", r"tfdeep\.report\.Report"),
    (r"py:class", r"tfdeep\.initializers\.scale_report\.ScaleReport"),
    (r"py:class", r"tfdeep\.privacy\.statement\.Statement"),
    (r"py:class", r"tfdeep\.pruning\.call\.(Axis|Record)"),
    (r"py:class", r"tfdeep\.pruning\.slimming_monitor\.SlimmingMonitor"),
    # What recipes are handed by their runner.
    (r"py:class", r"(.*\.)?(Context|Entry)"),
    (r"py:.*", r"(collections\.abc|dataclasses|pathlib|typing)\..*"),
]

autosummary_generate = False  # `reference` writes the pages.

SECTION = re.compile(r"[A-Z][a-z ]+:$")


def mark_formulas(app, what, name, obj, options, lines):
    """Turn the indented formulas before the first section into code."""
    marked = []
    for index, line in enumerate(lines):
        before = lines[index - 1] if index else ""
        if SECTION.match(line) and index + 1 < len(lines):
            if lines[index + 1].startswith(" "):
                marked.extend(lines[index:])
                break
        indented = line.startswith("    ")
        if indented and not before.strip() and not _goes_on(marked):
            marked.extend(["::", ""])
        marked.append(line)
    lines[:] = marked


def _goes_on(marked):
    """Whether the last line that is not empty belongs to a formula."""
    filled = [line for line in marked if line.strip()]
    return bool(filled) and filled[-1].startswith("    ")


def link_papers(app, what, name, obj, options, lines):
    """Make links of the papers that a docstring quotes."""
    lines[:] = link(lines)


def show_signature(app, what, name, obj, options, signature, returns):
    """Show what `__init__` takes; Keras' `__new__` hides it."""
    if what != "class" or signature != "(*args, **kwargs)":
        return None
    taken = inspect.signature(obj.__init__)
    _, *parameters = taken.parameters.values()
    return str(taken.replace(parameters=parameters)), returns


def setup(app):
    """Run before napoleon, which has priority 500."""
    app.connect("autodoc-process-docstring", mark_formulas, priority=400)
    app.connect("autodoc-process-docstring", link_papers, priority=401)
    app.connect("autodoc-process-signature", show_signature)
