"""Every layer and model of tfdeep, with the smallest use of it.

A key of `CASES` is the name of an export, or the name, a dash and a variant.
"""

import tfdeep
from tests.contract.cases.blocks import BLOCKS
from tests.contract.cases.capsules import CAPSULES
from tests.contract.cases.containers import CONTAINERS
from tests.contract.cases.models import MODELS

CASES = {**BLOCKS, **CONTAINERS, **CAPSULES, **MODELS}
NETS = tfdeep.models.__all__


def export_of(name: str) -> str:
    """The export that a case is about."""
    return name.partition("-")[0]


def names(**wanted) -> list[str]:
    """The cases whose settings are as wanted; all of them by default."""
    return [
        name
        for name, case in CASES.items()
        if all(getattr(case, key) == value for key, value in wanted.items())
    ]


def is_variant(name: str) -> bool:
    """Whether a case is a further one of its export."""
    return name != export_of(name)


def layer_names(**wanted) -> list[str]:
    """The cases of layers whose settings are as wanted."""
    return [name for name in names(**wanted) if export_of(name) not in NETS]


def model_names(**wanted) -> list[str]:
    """The cases of models whose settings are as wanted."""
    return [name for name in names(**wanted) if export_of(name) in NETS]
