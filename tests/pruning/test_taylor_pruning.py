"""Taylor pruning in an optimizer, against its rule in NumPy."""

import keras
import numpy as np
import pytest
from keras import layers, ops, optimizers

from tests.helpers import BACKEND, arrays
from tfdeep.optimizers.wrapper import innermost
from tfdeep.pruning import ChannelGraph, TaylorPruning, verify

MODES = [{"jit_compile": False}, {"jit_compile": True}]
X = np.random.default_rng(0).normal(size=(16, 6, 6, 2)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")


def net(**normalization):
    """Two convolutions that are added up, one inside, all normalized."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 2))

    def unit(x, filters, name, active=True):
        x = layers.Conv2D(
            filters, 3, padding="same", use_bias=False, name=name
        )(x)
        x = layers.BatchNormalization(name=f"{name}_bn", **normalization)(x)
        return layers.ReLU()(x) if active else x

    x = unit(inputs, 5, "stem")
    y = unit(unit(x, 6, "inner"), 5, "outer", active=False)
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(2, name="out")(x))


def pruning(model, inner=None, **changes):
    settings = {
        "channels": 6, "channels_per_step": 2, "frequency": 3,
        "momentum": 0.5, **changes,
    }  # fmt: skip
    inner = optimizers.SGD(0.05, momentum=0.9) if inner is None else inner
    return TaylorPruning(inner, model, **settings)


class Reference:
    """The authors' rule, a mini-batch after the other, by unit.

    Args:
        units: the slices that give the score of each unit: lists of
            `(weight, axis, number)`.
        group: the group of each unit.
        form: as of `TaylorPruning`.
    """

    def __init__(self, units, group, form, channels, step, frequency, momentum):
        self.units, self.group, self.form = units, group, form
        self.channels, self.step = channels, step
        self.frequency, self.momentum = frequency, momentum
        self.gone: list[int] = []
        self.sums = np.zeros(len(units))
        self.count = 0
        self.average = None

    def score(self, unit, gradients, weights):
        products = [
            np.take(gradients[w] * weights[w], number, axis)
            for w, axis, number in unit
        ]
        if self.form == "batch_norm":
            return np.sum(products) ** 2
        return sum(np.sum(product**2) for product in products)

    def batch(self, gradients, weights):
        for number, unit in enumerate(self.units):
            if number not in self.gone:
                self.sums[number] += self.score(unit, gradients, weights)
        self.count += 1
        if self.count == self.frequency and len(self.gone) < self.channels:
            self.prune()

    def prune(self):
        new = self.sums / self.count
        if self.average is None:
            self.average = new
        else:
            mix = self.momentum
            self.average = mix * self.average + (1 - mix) * new
        self.average[self.gone] = 0
        scores = self.average.copy()
        for group in set(self.group):
            mine = [n for n, g in enumerate(self.group) if g == group]
            alive = [n for n in mine if n not in self.gone]
            scores[max(alive, key=lambda n: scores[n])] = np.inf
        number = min(len(self.gone) + self.step, self.channels)
        threshold = np.sort(scores)[number - 1]
        self.gone = [n for n, s in enumerate(scores) if s <= threshold]
        self.sums[:] = 0
        self.count = 0


def reference(model, optimizer):
    weights = model.trainable_variables
    place = {v.path: n for n, v in enumerate(weights)}
    kinds = {
        "batch_norm": lambda v: v.path.endswith(("gamma", "beta")),
        "weight": lambda v: v.path.endswith("kernel"),
    }
    units, groups = [], []
    for number, group in enumerate(ChannelGraph(model).free):
        found = [[] for _ in range(group.channels)]
        for member in group.members:
            wanted = kinds[optimizer.form](member.variable)
            if member.role == "in" or not wanted:
                continue
            for index, channel in enumerate(member.places):
                if channel >= 0:
                    found[channel].append(
                        (place[member.variable.path], member.axis, index)
                    )
        units += found
        groups += [number] * group.channels
    return Reference(
        units, groups, optimizer.form, optimizer.channels,
        optimizer.channels_per_step, optimizer.frequency, optimizer.momentum,
    )  # fmt: skip


@pytest.mark.parametrize("form", ["batch_norm", "weight"])
def test_units_go_as_by_the_authors_rule(form):
    """With gradients and weights from before each update."""
    model = net()
    optimizer = pruning(model, form=form)
    rule = reference(model, optimizer)
    optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(2)
    found = []
    for _ in range(12):
        weights = arrays(model.trainable_variables)
        gradients = [rng.normal(size=w.shape).astype("f4") for w in weights]
        rule.batch(gradients, weights)
        optimizer.apply([ops.array(g) for g in gradients])
        gone = np.flatnonzero(np.array(optimizer.kept) == 0).tolist()
        assert gone == rule.gone
        found.append(len(gone))
    assert found == [0, 0, 2, 2, 2, 4, 4, 4, 6, 6, 6, 6]


def test_a_compiled_fit_takes_the_same_units():
    """The gradients are those of the model, eager, as a graph and by XLA."""
    found = []
    for mode in MODES if BACKEND == "jax" else [*MODES, {"run_eagerly": True}]:
        model = net()
        optimizer = pruning(model)
        model.compile(optimizer, "mse", **mode)
        model.fit(*(X, Y), batch_size=4, epochs=3, shuffle=False, verbose=0)
        found.append(np.array(optimizer.kept))
        held(model, optimizer)
    for kept in found:
        assert kept.sum() == 5
        np.testing.assert_array_equal(kept, found[0])


def test_units_are_those_of_the_other_backend(fresh_process):
    other = "tensorflow" if BACKEND == "jax" else "jax"
    code = """
import numpy as np
from tests.pruning.test_taylor_pruning import X, Y, net, pruning
model = net()
rng = np.random.default_rng(3)
for weight in model.trainable_variables:
    weight.assign(rng.normal(size=weight.shape, scale=0.5))
optimizer = pruning(model)
model.compile(optimizer, "mse", jit_compile=False)
model.fit(X, Y, batch_size=4, epochs=3, shuffle=False, verbose=0)
print(np.flatnonzero(np.array(optimizer.kept) == 0).tolist())
"""
    ours = fresh_process(code).splitlines()[-1]
    theirs = fresh_process(code, backend=other).splitlines()[-1]
    assert ours == theirs and len(eval(ours)) == 6


def held(model, optimizer):
    """Assert that slices of what is gone are zero, and nothing else is."""
    plan = optimizer.plan(model)
    groups = {group.name: group for group in ChannelGraph(model).free}
    count = 0
    for name, numbers in plan.removed.items():
        for member in groups[name].members:
            if "moving_" in member.variable.path:
                continue
            values = np.moveaxis(np.array(member.variable), member.axis, 0)
            gone = np.isin(member.places, numbers)
            assert not np.any(values[gone])
            count += int(gone.sum())
    assert count > 0
    small = plan.compact(model)
    np.testing.assert_allclose(small(X), model(X), 1e-4, 1e-5)
    return small


@pytest.mark.parametrize(
    "inner",
    [
        lambda: optimizers.AdamW(0.01, weight_decay=0.5),
        lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        lambda: optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9),
        lambda: optimizers.Adam(
            0.01, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2
        ),
        lambda: optimizers.SGD(0.05, gradient_accumulation_steps=2),
        lambda: optimizers.SGD(0.05, loss_scale_factor=8.0),
    ],
)
def test_what_is_gone_stays_zero(inner):
    model = net()
    optimizer = pruning(model, inner(), frequency=1)
    model.compile(optimizer, "mse")
    model.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert sum(optimizer.widths().values()) == 5
    held(model, optimizer)
    small = optimizer.plan(model).compact(model)
    assert type(small.optimizer) is type(innermost(optimizer))
    assert int(small.optimizer.iterations) == int(optimizer.iterations)


def test_what_trains_on_is_the_small_model():
    """Its optimizer goes on from what the one inside has kept."""
    model = net()
    optimizer = pruning(model, frequency=1)
    model.compile(optimizer, "mse")
    model.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    small = optimizer.plan(model).compact(model)
    for each in (model, small):
        each.fit(X, Y, batch_size=4, epochs=1, shuffle=False, verbose=0)
    np.testing.assert_allclose(small(X), model(X), 1e-3, 1e-4)
    assert verify(model, small, optimizer.plan(model), X).max_error < 1e-5


def test_it_goes_on_from_a_file(tmp_path):
    def run(parts):
        model = net()
        model.compile(pruning(model), "mse")
        for number, epochs in enumerate(parts):
            path = tmp_path / f"{number}.keras"
            model.fit(
                X, Y, batch_size=4, epochs=epochs, shuffle=False, verbose=0
            )
            model.save(path)
            model = keras.models.load_model(path)
        return model

    whole, parts = run([3]), run([1, 2])
    for one, other in zip(
        [*whole.variables, *whole.optimizer.variables],
        [*parts.variables, *parts.optimizer.variables],
        strict=True,
    ):
        np.testing.assert_allclose(one, other, 1e-5, 1e-6)
    assert sum(parts.optimizer.widths().values()) == 5
    held(parts, parts.optimizer)


def test_it_waits_while_it_is_not_enabled():
    model = net()
    optimizer = pruning(model, frequency=1)
    optimizer.enabled.assign(False)
    model.compile(optimizer, "mse")
    model.fit(X, Y, batch_size=4, verbose=0)
    assert optimizer.widths() == {"stem": 5, "inner": 6}
    assert not np.any(np.array(optimizer.total))
    optimizer.enabled.assign(True)
    model.fit(X, Y, batch_size=4, verbose=0)
    assert sum(optimizer.widths().values()) == 5


def test_each_group_keeps_its_best_channel():
    model = net()
    optimizer = pruning(model, channels=9, channels_per_step=9, frequency=1)
    model.compile(optimizer, "mse")
    model.fit(X, Y, batch_size=16, verbose=0)
    assert optimizer.widths() == {"stem": 1, "inner": 1}
    assert held(model, optimizer).get_layer("inner").filters == 1


def test_frozen_and_excluded_channels_stay():
    model = net()
    excluding = pruning(model, channels=5, exclude=["stem"])
    assert excluding.widths() == {"inner": 6}
    model.get_layer("outer").trainable = False
    with pytest.raises(ValueError, match="channels that can go"):
        pruning(model)
    model.get_layer("outer").trainable = True
    model.get_layer("inner_bn").trainable = False
    assert pruning(model, channels=4).widths() == {"stem": 5}


def test_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = net()
    finally:
        keras.config.set_dtype_policy("float32")
    model.dtype_policy = "mixed_float16"
    optimizer = pruning(model, frequency=1)
    model.compile(optimizer, "mse")
    model.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    assert sum(optimizer.widths().values()) == 5
    small = optimizer.plan(model).compact(model)
    assert isinstance(innermost(small.optimizer), optimizers.SGD)
    assert not isinstance(small.optimizer.inner_optimizer, TaylorPruning)


def test_what_is_refused():
    model = net()
    for wrong in (
        {"channels": 10},
        {"channels": True},
        {"channels_per_step": 0},
        {"frequency": 0},
        {"momentum": 2.0},
        {"form": "gate"},
    ):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
            pruning(model, **wrong)
    with pytest.raises(TypeError, match="`model`"):
        pruning(3)
    plain = keras.Sequential([keras.Input((3,)), layers.Dense(4)])
    plain.add(layers.Dense(2))
    with pytest.raises(ValueError, match="has none"):
        pruning(plain)
    with pytest.raises(ValueError, match="must be the trainable variables"):
        pruning(model).build(plain.trainable_variables)
    with pytest.raises(ValueError, match="other channels"):
        pruning(model).plan(plain)
