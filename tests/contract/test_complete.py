"""Nothing that is exported is left out of the contract."""

import pkgutil
import re

import pytest

import tfdeep
from tests.contract.cases import CASES, export_of
from tests.contract.exports import (
    LISTED,
    MET_BY,
    MODULES,
    PLAIN,
    exports_of,
    in_tf_privacy,
    kinds_of,
    public_names,
    thing_of,
)
from tests.contract.harness import ROOT


def last_part(name: str) -> str:
    return name.rpartition(".")[2]


# Packages without a public name of their own.
INSIDE = {"backend": "primitives of the layers, under tests/backend"}


def test_every_public_name_is_of_one_kind():
    kinds = {name: kinds_of(name) for name in public_names()}
    assert {n: k for n, k in kinds.items() if len(k) != 1} == {}


def test_every_listed_name_is_public():
    listed = [n for names in (LISTED | PLAIN).values() for n in names]
    assert set(listed) <= set(public_names())


def test_every_layer_and_model_has_a_case():
    covered = {export_of(case) for case in CASES}
    names = [*exports_of("layer"), *exports_of("model")]
    assert covered == {last_part(name) for name in names}


def test_every_layer_and_model_has_a_neutral_setting():
    neutral = {export_of(name) for name, case in CASES.items() if case.neutral}
    assert neutral == {export_of(name) for name in CASES}


@pytest.mark.parametrize("path", PLAIN)
def test_what_is_plain_is_in_the_file_that_covers_it(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    missing = [
        name
        for name in PLAIN[path]
        # Those of TF Privacy are gone through there by a loop.
        if not in_tf_privacy(name)
        and not re.search(rf"\b{MET_BY.get(name, last_part(name))}\b", text)
    ]
    assert missing == []


def test_every_package_is_public_or_known_not_to_be():
    packages = {
        m.name for m in pkgutil.iter_modules(tfdeep.__path__) if m.ispkg
    }
    public = {module.__name__.split(".")[1] for module in MODULES}
    assert packages == public | set(INSIDE)


def test_top_level_names_are_exports():
    names = {name.rpartition(".")[2]: name for name in public_names()}
    modules = {module.__name__.split(".")[1] for module in MODULES}
    for name in set(tfdeep.__all__) - modules:
        assert getattr(tfdeep, name) is thing_of(names[name])
