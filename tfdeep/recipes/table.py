"""The table that the command line knows the recipes and data sets from.

`python -m tfdeep.recipes.table` writes it again after a recipe was added or
changed; a test says when that is due.
"""

import json
from pathlib import Path
from typing import Any

FILE = "table.json"


def table() -> dict[str, Any]:
    """Return what the command line needs to know, in JSON's types."""
    import tfdeep
    from tfdeep import data
    from tfdeep.recipes import recipes

    return {
        "version": tfdeep.__version__,
        "data": {
            name: {"small": data.info(name).small} for name in data.names()
        },
        "recipes": {name: _row(recipe) for name, recipe in recipes().items()},
    }


def _row(recipe: Any) -> dict[str, Any]:
    claims = [
        {"name": c.name, "statement": c.statement, "paper": c.paper}
        for c in recipe.claims
    ]
    scales = {
        name: {"about": scale.about, "data": scale.data}
        for name, scale in recipe.scales.items()
    }
    return {
        "title": recipe.title,
        "paper": recipe.paper,
        "data": recipe.data,
        "independent": recipe.independent,
        "claims": claims,
        "scales": scales,
    }


def main() -> None:
    """Write the table beside the command line."""
    import tfdeep_command

    path = Path(tfdeep_command.__file__).with_name(FILE)
    text = json.dumps(table(), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
