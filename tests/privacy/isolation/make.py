"""Write the table of layers that keep examples apart, from trials.

    python -m tests.privacy.isolation.make

on each backend, by KERAS_BACKEND: what others found stays, if it was on the
same version of Keras.
"""

import importlib.metadata
import json
from pathlib import Path

import keras

from tests.privacy.isolation.cases import (
    WITHOUT,
    inputs_of,
    keras_cases,
    own_cases,
)
from tests.privacy.isolation.trial import Mixes, check_keeps_apart
from tfdeep.keras_internals import layers_of
from tfdeep.privacy.per_example import isolation

PATH = Path(isolation.__file__).with_name("isolation.json")


def found() -> tuple[dict, dict]:
    """The classes that keep examples apart, and why others do not."""
    good: dict[type, None] = {}
    bad: dict[str, str] = {}
    for cases in (keras_cases(), own_cases()):
        for name, make in cases.items():
            model = make()
            try:
                check_keeps_apart(model, inputs_of(model))
            except Mixes as reason:
                bad[name] = str(reason)
                continue
            except Exception as error:  # It does not run on this backend.
                bad[name] = f"{type(error).__name__}: {str(error)[:200]}"
                continue
            good.update(dict.fromkeys(map(type, layers_of(model))))
    names = {*bad, *WITHOUT}
    kept = [
        kind
        for kind in good
        if kind.__name__ not in names
        and not issubclass(kind, (keras.layers.InputLayer, keras.Model))
        or kind is keras.layers.InputLayer
    ]
    return {kind: None for kind in kept}, bad


def made(kinds, others: dict) -> dict:
    """The table of these classes on this backend.

    Args:
        kinds: the classes that keep examples apart.
        others: a table, of which the findings on other backends are taken.
    """
    lines = {}
    for kind in kinds:
        name = isolation.name_of(kind)
        if name.startswith("keras."):
            lines[name] = isolation.source_of(kind)
        elif name.startswith("tfdeep."):
            lines[name] = "here"
    here = keras.backend.backend()
    versions = {here: importlib.metadata.version(here)}
    passed = {here: set(lines)}
    if others["keras"] == [keras.version()]:
        for backend in set(others["backends"]) - {here}:
            versions[backend] = others["backends"][backend]
            passed[backend] = passing(others, backend)
            lines.update({n: others["layers"][n] for n in passed[backend]})
    return {
        "keras": [keras.version()],
        "backends": dict(sorted(versions.items())),
        "layers": dict(sorted(lines.items())),
        "not_on": {
            backend: sorted(set(lines) - passed[backend])
            for backend in sorted(versions)
        },
    }


def passing(table: dict, backend: str) -> set[str]:
    """The classes of a table that passed on a backend."""
    return set(table["layers"]) - set(table["not_on"][backend])


if __name__ == "__main__":
    kinds, bad = found()
    for name, reason in bad.items():
        print(f"{name}: {reason}")
    lines = made(kinds, isolation.table())
    PATH.write_text(json.dumps(lines, indent=1) + "\n", "utf-8")
    print(f"{len(kinds)} classes")
