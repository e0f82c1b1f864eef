"""What every reference network passes.

    life        equal seeds run alike; every weight trains; a file resumes the
                run; a clone is the model; batches may be cut
    training    eager (in the life), as a graph of unknown sizes; two by XLA
    precision   half precision is close to single, and trains
    neutral     one setting is the plain net, exactly
    channels    first computes what last does
    hard use    frozen, mixed (see hard_use.py)

In other processes, for all at once (test_together.py): loading, export, two
devices.  Numbers of parameters and shapes at paper scale: tests/models.
"""

import pytest

from tests.contract import hard_use, life
from tests.contract.cases import CASES, is_variant, model_names
from tests.contract.harness import BACKEND, images, model_of
from tests.contract.life import MODES

pytestmark = pytest.mark.slow
MODELS = model_names()
if BACKEND == "jax":
    # Compiling takes its time; what all are made of is in test_layers.py.
    MODELS = ["MomentumCapsNet", "ResNet"]
MAIN = [name for name in MODELS if not is_variant(name)]


@pytest.mark.parametrize("name", MODELS)
def test_life(name, tmp_path, subtests):
    life.check_life(name, tmp_path, subtests)


# XLA compiles the layers one by one (test_layers.py), and of nets these.
COMPILED = [
    (name, mode)
    for name in MAIN
    for mode in MODES
    if mode == "graph" or name in ("MomentumCapsNet", "ResNet")
]


@pytest.mark.parametrize(("name", "mode"), COMPILED)
def test_compiled_training(name, mode):
    life.check_compiled_training(name, mode)


@pytest.mark.parametrize("policy", life.HALVES)
@pytest.mark.parametrize("name", MAIN)
def test_half_precision(name, policy):
    life.check_half_precision(name, policy)


@pytest.mark.parametrize("name", [n for n in MODELS if CASES[n].neutral])
def test_neutral_setting(name):
    life.check_neutral_setting(name)


@pytest.mark.parametrize("name", [n for n in MAIN if CASES[n].data_format])
def test_channels_first(name):
    life.check_channels_first(name)


@pytest.mark.parametrize("first", hard_use.PRECISIONS)
@pytest.mark.parametrize("name", ["ResNet"])
def test_loaded_under_another_policy(name, first, tmp_path):
    hard_use.check_loaded_under_another_policy(
        lambda: model_of(name), images(name), first, tmp_path
    )
