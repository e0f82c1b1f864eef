"""Nothing that is exported is left out of the contract."""

import pkgutil

import pytest

import tfdeep
from tests.contract.cases import (
    CASES,
    NAMESPACES,
    OTHER_EXPORTS,
    OTHER_PACKAGES,
    export_of,
)

EXPORTS = sorted(
    {name for each in NAMESPACES.values() for name in each.__all__}
)


@pytest.mark.parametrize("name", EXPORTS)
def test_every_export_has_a_case(name):
    covered = {export_of(case) for case in CASES}
    assert (name in covered) != (name in OTHER_EXPORTS)


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_of_an_export(name):
    assert export_of(name) in EXPORTS


@pytest.mark.parametrize("name", sorted({export_of(name) for name in CASES}))
def test_every_export_has_a_neutral_setting(name):
    cases = [case for key, case in CASES.items() if export_of(key) == name]
    assert any(case.neutral for case in cases)


def test_every_package_is_under_the_contract_or_known_not_to_be():
    modules = pkgutil.iter_modules(tfdeep.__path__)
    packages = {module.name for module in modules if module.ispkg}
    assert packages <= {*NAMESPACES, *OTHER_PACKAGES}


def test_top_level_names_are_exports():
    packages = {*NAMESPACES, *OTHER_PACKAGES}
    others = [tfdeep.initializers, tfdeep.privacy, tfdeep.training]
    exports = {name for package in others for name in package.__all__}
    names = {*EXPORTS, *exports, "__version__"}
    others = {
        *tfdeep.initializers.__all__,
        *tfdeep.privacy.__all__,
        *tfdeep.training.__all__,
    }
    names = {*EXPORTS, *others, "__version__"}
    assert set(tfdeep.__all__) - packages <= names
