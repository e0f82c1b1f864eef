"""The API reference as a part of Sphinx: a page for each public name.

A page in docs/api that says `.. exports:: MODULE` shows what the module
exports, as a table of links; the pages themselves are written into
docs/api/objects before Sphinx reads them. Each names the pages that tell of its
object, and a name in code on any page is a link to it.
"""

import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

from docutils import nodes

DOCS = Path(__file__).resolve().parent
OBJECTS = DOCS / "api" / "objects"
EXPORTS = re.compile(r"^\.\. exports:: (\S+)$", re.MULTILINE)
CODE = re.compile(r"^```python\n.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
CALLED = re.compile(r"([\w.]+)(\(.*\))?$", re.DOTALL)


def exported(module: str) -> list[str]:
    """What a module exports but for other modules, in its order."""
    there = import_module(module)
    return [
        name
        for name in there.__all__
        if not isinstance(getattr(there, name), ModuleType)
    ]


def shown() -> dict[str, str]:
    """The page in docs/api of each module that has exports."""
    return {
        module: f"api/{page.stem}"
        for page in sorted((DOCS / "api").glob("*.md"))
        for module in EXPORTS.findall(page.read_text(encoding="utf-8"))
    }


def ways_to_write(module: str, name: str) -> list[str]:
    """How code on a page may call an object."""
    top = getattr(import_module("tfdeep"), name, None)
    is_top = top is getattr(import_module(module), name)
    short = module.removeprefix("tfdeep.")
    ways = [f"{module}.{name}", f"{short}.{name}"]
    ways += [f"tfdeep.{name}"] if is_top else []
    # A bare `load` or `count` may be anyone's.
    ways += [name] if name[0].isupper() or "_" in name else []
    return ways


def names() -> dict[str, str]:
    """The page of an object by each way to write it."""
    return {
        way: f"api/objects/{module}.{name}"
        for module in reversed(shown())
        for name in exported(module)
        for way in ways_to_write(module, name)
    }


def tellers() -> dict[str, list[tuple[str, str]]]:
    """The pages that tell of an object, (title, name), by the object's page."""
    found: dict[str, list[tuple[str, str]]] = {}
    targets = names()
    for folder in ("methods", "guides"):
        for page in sorted((DOCS / folder).glob("*.md")):
            text = page.read_text(encoding="utf-8")
            title = text.splitlines()[0].removeprefix("# ")
            words = {
                word
                for code in CODE.findall(text)
                for word in re.findall(r"[\w.]+", code)
            }
            for target in sorted({targets[w] for w in words & set(targets)}):
                told = found.setdefault(target, [])
                told.append((title, f"/{folder}/{page.stem}"))
    return found


def page_of(module: str, name: str, inside: str, told: list) -> str:
    """The page of an object, in reStructuredText."""
    there = getattr(import_module(module), name)
    if inspect.isclass(there):
        kind = "exception" if issubclass(there, BaseException) else "class"
    else:
        kind = "function" if inspect.isroutine(there) else "data"
    where = f"In :doc:`{module} </{inside}>`."
    if told:
        pages = ", ".join(f":doc:`{title} <{page}>`" for title, page in told)
        where += f" See also: {pages}."
    line = "=" * len(name)
    return f"{name}\n{line}\n\n{where}\n\n.. auto{kind}:: {module}.{name}\n"


def write_pages(app) -> None:
    """Write the pages of all objects, and remove those of former ones."""
    OBJECTS.mkdir(exist_ok=True)
    told, kept = tellers(), set()
    for module, inside in shown().items():
        for name in exported(module):
            path = OBJECTS / f"{module}.{name}.rst"
            about = told.get(f"api/objects/{path.stem}", [])
            text = page_of(module, name, inside, about)
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
            kept.add(path)
    for path in set(OBJECTS.glob("*.rst")) - kept:
        path.unlink()


def show_exports(app, docname, source) -> None:
    """Put tables of links in the place of `.. exports::`."""

    def table(match: re.Match) -> str:
        module = match[1]
        listed = exported(module)
        return "\n".join(
            [
                f".. automodule:: {module}\n   :no-members:\n",
                ".. autosummary::\n   :nosignatures:\n",
                *(f"   {name}" for name in listed),
                "\n.. toctree::\n   :hidden:\n",
                *(f"   objects/{module}.{name}" for name in listed),
            ]
        )

    if docname.startswith("api/"):
        source[0] = EXPORTS.sub(table, source[0])


def link_names(app, doctree, docname) -> None:
    """Make links of public names in code."""
    if app.builder.format != "html":
        return
    for literal in list(doctree.findall(nodes.literal)):
        called = CALLED.match(literal.astext())
        target = app.config.public_names.get(called[1] if called else "")
        if target in (None, docname) or _is_linked(literal):
            continue
        uri = app.builder.get_relative_uri(docname, target)
        link = nodes.reference("", "", internal=True, refuri=uri)
        literal.replace_self(link)
        link += literal


def _is_linked(node) -> bool:
    while node is not None:
        if isinstance(node, nodes.reference | nodes.title):
            return True
        node = node.parent
    return False


def find_names(app, config) -> None:
    """Keep the table of names for all pages."""
    config.public_names = names()


def setup(app):
    """Called by Sphinx."""
    app.add_config_value("public_names", {}, "")
    app.connect("config-inited", find_names)
    app.connect("builder-inited", write_pages)
    app.connect("source-read", show_exports)
    app.connect("doctree-resolved", link_names)
    return {"parallel_read_safe": True}
