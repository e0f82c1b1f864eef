"""Every wrapper, and a wrapper of a wrapper, goes on from a file."""

import json

import keras
import numpy as np
import pytest

from tests.helpers import arrays, close
from tests.training.harness import EAGER, NESTED, SINGLE, fit

CODE = """
import json, pathlib, sys
import keras, numpy as np
folder = pathlib.Path({folder!r})
x, y = np.load(folder / "data.npz").values()
found = {{}}
for path in sorted(folder.glob("*.base.keras")):
    y_base = np.array(keras.models.load_model(path)(x))
    found[path.name[:-11]] = [float(np.sum(y_base ** 2))]
assert "tfdeep" not in sys.modules
import tfdeep
for name in found:
    wrapper = keras.models.load_model(folder / (name + ".keras"))
    history = wrapper.fit(x, y, epochs=2, shuffle=False, verbose=0).history
    kinds = [type(each).__name__ for each in wrapper.chain()]
    found[name] += [history, kinds]
    values = [np.array(v.value) for v in wrapper.trainable_variables]
    np.savez(folder / (name + ".npz"), *values)
print(json.dumps(found))
"""

# Every class alone or within another, and each order of two.
NAMES = ["entropy", "relay", "entropy of supervision", "supervision of entropy"]
WRAPPERS = {name: {**SINGLE, **NESTED}[name] for name in NAMES}


@pytest.mark.slow
def test_a_saved_run_goes_on_in_a_fresh_process(
    net, data, crossentropy, fresh_process, tmp_path
):
    """As it does here; the model inside loads where tfdeep is unknown."""
    np.savez(tmp_path / "data.npz", *data)
    wrappers = {name: wrap(net()) for name, wrap in WRAPPERS.items()}
    for name, wrapper in wrappers.items():
        wrapper.compile(keras.optimizers.Adam(0.01), crossentropy, **EAGER)
        fit(wrapper, data)
        wrapper.save(tmp_path / f"{name}.keras")
        wrapper.plain().save(tmp_path / f"{name}.base.keras")
    printed = fresh_process(CODE.format(folder=str(tmp_path)))
    for name, (squares, history, kinds) in json.loads(printed).items():
        wrapper = wrappers.pop(name)
        assert kinds == [type(each).__name__ for each in wrapper.chain()]
        expected = np.sum(np.array(wrapper(data[0])) ** 2)
        assert squares == pytest.approx(expected, rel=1e-5), name
        here = fit(wrapper, data, 2)
        assert history.keys() == here.keys()
        for key, values in here.items():
            assert history[key] == pytest.approx(values, rel=1e-5), key
        found = np.load(tmp_path / f"{name}.npz").values()
        close(found, arrays(wrapper.trainable_variables))
    assert not wrappers
