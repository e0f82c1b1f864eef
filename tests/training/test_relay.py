"""Relay backpropagation: masked sums of gradients, segments, refusals."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import BACKEND, arrays
from tfdeep import backend
from tfdeep.layers import BatchEntropy
from tfdeep.training import (
    BatchEntropyRegularizer,
    DeepSupervision,
    Head,
    RelayBackpropagation,
    describe_reach,
)

MODES = [{"jit_compile": True}]
if BACKEND == "tensorflow":
    MODES += [{"jit_compile": False}, {"run_eagerly": True}]
each_mode = pytest.mark.parametrize("mode", MODES, ids=str)


def heads(*names, **settings):
    keras.utils.set_random_seed(3)
    return {name: Head(layers.Dense(3), **settings) for name in names}


def normal(x, units, seed, name=None, activation="tanh"):
    start = keras.initializers.HeNormal(seed)
    layer = layers.Dense(units, activation, kernel_initializer=start, name=name)
    return layer(x)


def chain():
    """d0 ... d6 and `out`."""
    x = inputs = keras.Input((8,))
    for index in range(7):
        x = normal(x, 6, index, f"d{index}")
    return keras.Model(inputs, normal(x, 3, 9, "out", None))


def skipping():
    """Skips over one layer and over three, one from the input."""
    inputs = keras.Input((8,))
    a = normal(inputs, 6, 0, "a")
    b = layers.Add()([a, normal(a, 6, 1, "b")])
    c = normal(layers.Concatenate()([b, inputs]), 6, 2, "c")
    d = normal(c, 6, 3, "d") * 0.5 + a
    e = layers.Add(name="e_sum")([d, normal(d, 6, 4, "e")])
    return keras.Model(inputs, normal(e, 3, 9, "out", None))


def nested():
    """Cuts lie inside of `low` and of `high/inner`."""

    def block(name, *parts):
        return keras.Sequential([keras.Input((6,)), *parts], name=name)

    def dense(seed, name):
        start = keras.initializers.HeNormal(seed)
        return layers.Dense(6, "tanh", kernel_initializer=start, name=name)

    inputs = keras.Input((8,))
    low = block("low", dense(1, "b"), dense(2, "c"))
    inner = block("inner", dense(3, "d"), dense(4, "e"))
    x = low(normal(inputs, 6, 0, "a"))
    x = block("high", inner, dense(5, "f"))(x)
    return keras.Model(inputs, normal(x, 3, 9, "out", None))


def norms():
    """Batch normalization between the layers, in training mode."""
    x = inputs = keras.Input((8,))
    for index, name in enumerate("abcd"):
        x = normal(x, 6, index, name, None)
        x = layers.BatchNormalization(name=f"norm_{name}")(x)
        x = layers.Activation("tanh", name=f"tanh_{name}")(x)
    return keras.Model(inputs, normal(x, 3, 9, "out", None))


# Model, where the heads are, arguments, and what each loss reaches: names of
# layers. What is not named is reached by none.
CASES = {
    "one head": (
        chain,
        ["d3"],
        {},
        {"d3": "d0 d1 d2 d3", "output": "d3 d4 d5 d6 out"},
    ),
    "two heads": (
        chain,
        ["d4", "d1"],
        {},
        {
            "d1": "d0 d1",
            "d4": "d1 d2 d3 d4",
            "output": "d4 d5 d6 out",
        },
    ),
    "wide overlap": (
        chain,
        ["d2", "d4"],
        {"overlap": 3},
        {
            "d2": "d0 d1 d2",
            "d4": "d0 d1 d2 d3 d4",
            "output": "d2 d3 d4 d5 d6 out",
        },
    ),
    "over two segments": (
        chain,
        ["d2", "d3", "d4"],
        {
            "segments": {
                "d2": ("d0", "d2"),
                "d3": ("d1", "d3"),
                "d4": ("d1", "d4"),
                "output": ("d2", "out"),
            }
        },
        {
            "d2": "d0 d1 d2",
            "d3": "d1 d2 d3",
            "d4": "d1 d2 d3 d4",
            "output": "d2 d3 d4 d5 d6 out",
        },
    ),
    "disjoint": (
        chain,
        ["d2"],
        {"overlap": 0},
        {"d2": "d0 d1 d2", "output": "d3 d4 d5 d6 out"},
    ),
    "everything": (
        chain,
        ["d2"],
        {"overlap": 9},
        {"d2": "d0 d1 d2", "output": "d0 d1 d2 d3 d4 d5 d6 out"},
    ),
    "skips": (
        skipping,
        ["c"],
        {"overlap": 2},
        {"c": "a b c", "output": "b c d e out"},
    ),
    "nested": (
        nested,
        ["c", "d"],
        {},
        {
            "low/c": "a b c",
            "high/inner/d": "c d",
            "output": "d e f out",
        },
    ),
    "norms": (
        norms,
        ["tanh_b"],
        {},
        {
            "tanh_b": "a norm_a b norm_b",
            "output": "b norm_b c norm_c d norm_d out",
        },
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


def find(model, name):
    for layer in model._flatten_layers():
        if layer.name == name:
            return layer
    raise KeyError(name)


def owner(variable):
    """The name of the layer of a variable, the last but one of its path."""
    return variable.path.split("/")[-2]


def slow_gradients(wrapper, data, loss):
    """Gradients of each loss alone, by variables: no mask, no cut."""
    x, y = data
    model = wrapper.base
    variables = wrapper.trainable_variables
    state = [v.value for v in wrapper.non_trainable_variables]
    names = ["output", *wrapper.names]

    def value(name, tensors):
        mapping = [
            *zip(variables, tensors, strict=True),
            *zip(wrapper.non_trainable_variables, state, strict=True),
        ]
        with keras.StatelessScope(mapping):
            tapped = taps_of(model, wrapper.names)(x, training=True)
            if name == "output":
                return loss(y, tapped[-1])
            index = wrapper.names.index(name)
            scores = wrapper.head_layers[index](tapped[index])
            hot = ops.convert_to_tensor(2 * np.eye(3, dtype="float32")[y] - 1)
            gap = ops.maximum(1.0 - hot * scores, 0.0)
            alpha = wrapper.current_alphas()[name]
            return alpha * ops.mean(ops.sum(ops.square(gap), -1))

    return {
        name: arrays(
            backend.value_and_gradients(
                lambda tensors, name=name: value(name, tensors),
                [v.value for v in variables],
            )[1]
        )
        for name in names
    }


class taps_of:
    """A model's layers called by hand, keeping the outputs of some."""

    def __init__(self, model, names):
        self.model, self.names = model, [n.split("/")[-1] for n in names]

    def __call__(self, x, training):
        if any(layer.name == "low" for layer in self.model.layers):
            order = ["a", "b", "c", "d", "e", "f", "out"]
            outputs, value = {}, x
            for name in order:
                value = outputs[name] = find(self.model, name)(value)
        else:
            wanted = [*self.names, "out"]
            view = keras.Model(
                self.model.input,
                [self.model.get_layer(name).output for name in wanted],
            )
            found = view(x, training=training)
            outputs = dict(zip(wanted, found, strict=True))
        return [outputs[name] for name in [*self.names, "out"]]


@each_case
@each_mode
def test_gradients_are_the_masked_sum(case, mode, data, crossentropy):
    """One SGD step at rate 1 is minus the gradient."""
    make, names, arguments, reached = case
    wrapper = RelayBackpropagation(
        make(), heads(*names, alpha=0.7), **arguments
    )
    wrapper.compile(keras.optimizers.SGD(1.0), crossentropy, **mode)
    alone = slow_gradients(wrapper, data, crossentropy)
    before = arrays(wrapper.trainable_variables)
    wrapper.fit(*data, verbose=0, batch_size=32)
    after = arrays(wrapper.trainable_variables)
    inner = {id(v) for v in wrapper.base.trainable_variables}
    assert set(alone) == set(reached)
    for index, variable in enumerate(wrapper.trainable_variables):
        expected = np.zeros(variable.shape, "float32")
        for loss, layer_names in reached.items():
            # A head's weights are met by its own loss only.
            head = id(variable) not in inner
            if head or owner(variable) in layer_names.split():
                expected = expected + alone[loss][index]
        moved = before[index] - after[index]
        np.testing.assert_allclose(moved, expected, 1e-5, 1e-6, variable.path)


@each_case
def test_the_reach_is_told(case):
    make, names, arguments, expected = case
    wrapper = RelayBackpropagation(make(), heads(*names), **arguments)
    reach = describe_reach(wrapper)
    found = {
        loss: " ".join(path.split("/")[-1] for path in paths)
        for loss, paths in reach.reached.items()
    }
    assert found == expected
    lines = str(reach).splitlines()
    assert lines[0].split() == ["layer", *reach.losses]
    assert len(lines) == 1 + len(reach.layers)
    assert sum(line.count(" x") for line in lines[1:]) == sum(
        map(len, reach.reached.values())
    )


def test_the_reach_of_other_models(data, tmp_path):
    supervised = DeepSupervision(chain(), heads("d2"))
    reach = describe_reach(supervised)
    assert reach.reached["d2"] == ["d0", "d1", "d2"]
    assert len(reach.reached["output"]) == 8
    reach.plot(tmp_path / "reach.png")
    assert (tmp_path / "reach.png").stat().st_size > 1000
    assert reach.to_dict()["layers"] == reach.reached["output"]
    plain = describe_reach(chain())
    assert plain.losses == ["output"] and len(plain.layers) == 8
    relay = RelayBackpropagation(chain(), heads("d2"))
    outer = describe_reach(BatchEntropyRegularizer(relay))
    assert outer == describe_reach(relay)
    with pytest.raises(TypeError, match="must be a keras.Model"):
        describe_reach("model")
    with pytest.raises(ValueError, match="came before it was built"):
        describe_reach(keras.Sequential([layers.Dense(3)]))


@each_mode
def test_reaching_everything_is_deep_supervision(data, crossentropy, mode):
    found = []
    for kind, more in (
        (DeepSupervision, {}),
        (RelayBackpropagation, {"overlap": 9}),
    ):
        wrapper = kind(chain(), heads("d2", "d4", alpha=0.5), **more)
        wrapper.compile(keras.optimizers.Adam(0.01), crossentropy, **mode)
        wrapper.fit(*data, batch_size=8, epochs=2, shuffle=False, verbose=0)
        found.append(arrays(wrapper.trainable_variables))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_without_weight_the_lower_layers_stay(data, crossentropy):
    """alpha = 0: nothing is handed over."""
    wrapper = RelayBackpropagation(chain(), heads("d3", alpha=0.0))
    wrapper.compile(keras.optimizers.SGD(0.5), crossentropy)
    before = arrays(wrapper.base.trainable_variables)
    wrapper.fit(*data, verbose=0)
    after = arrays(wrapper.base.trainable_variables)
    moved = [
        not np.array_equal(a, b) for a, b in zip(before, after, strict=True)
    ]
    assert moved == [False] * 6 + [True] * 10


@each_mode
def test_dropout_is_drawn_once(data, crossentropy, mode):
    """What is pulled down knows the mask of the forward pass."""

    def make():
        x = inputs = keras.Input((8,))
        for index in range(4):
            x = normal(x, 6, index, f"d{index}")
            x = layers.Dropout(0.5, seed=index, name=f"drop{index}")(x)
        return keras.Model(inputs, normal(x, 3, 9, "out", None))

    found = []
    for overlap in (9, 2):
        head = {"drop2": Head(layers.Dense(3))}
        keras.utils.set_random_seed(3)
        wrapper = RelayBackpropagation(make(), head, overlap=overlap)
        wrapper.compile(keras.optimizers.SGD(1.0), loss=silent, **mode)
        before = arrays(wrapper.base.trainable_variables)
        wrapper.fit(*data, batch_size=32, verbose=0)
        after = arrays(wrapper.trainable_variables)
        assert float(np.abs(after[0] - before[0]).max()) > 1e-4
        found.append([*after, *arrays(wrapper.base.non_trainable_variables)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, 1e-5, 1e-6)


def silent(y, scores):
    """A loss of the output that gives no gradient."""
    return ops.sum(scores * 0.0, -1)


def test_batch_statistics_move_once(data, crossentropy):
    found = []
    for overlap in (1, 9):
        wrapper = RelayBackpropagation(
            norms(), heads("tanh_b"), overlap=overlap
        )
        wrapper.compile(keras.optimizers.SGD(0.0), crossentropy)
        wrapper.fit(*data, batch_size=32, verbose=0)
        found.append(arrays(wrapper.base.non_trainable_variables))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, 1e-6)


def test_entropies_within_an_overlap_are_reported_once(data, crossentropy):
    logs = []
    for overlap in (2, 9):
        x = inputs = keras.Input((8,))
        for index in range(4):
            x = normal(x, 6, index, f"d{index}")
            if index == 1:
                x = BatchEntropy(name="entropy")(x)
        model = keras.Model(inputs, normal(x, 3, 9, "out", None))
        relay = RelayBackpropagation(model, heads("d2"), overlap=overlap)
        wrapper = BatchEntropyRegularizer(relay)
        wrapper.compile(keras.optimizers.SGD(0.0), crossentropy)
        logs.append(wrapper.fit(*data, batch_size=32, verbose=0).history)
    assert "batch_entropy/entropy" in logs[0]
    assert logs[0] == {k: pytest.approx(v, 1e-5) for k, v in logs[1].items()}


@each_mode
def test_a_layers_own_backward_pass_is_kept(data, crossentropy, mode):
    """A gradient that is defined, not derived, inside of the overlap."""

    @ops.custom_gradient
    def doubled(x):
        def gradient(*args, upstream=None):
            return 2.0 * (args[0] if upstream is None else upstream)

        return x * 1.0, gradient

    class Doubled(layers.Layer):
        def call(self, x):
            return doubled(x)

    def make(layer):
        x = inputs = keras.Input((8,))
        for index in range(4):
            x = normal(x, 6, index, f"d{index}")
            x = layer(x) if index == 1 else x
        return keras.Model(inputs, normal(x, 3, 9, "out", None))

    moves = []
    for layer in (Doubled(), layers.Identity()):
        keras.utils.set_random_seed(3)
        wrapper = RelayBackpropagation(make(layer), heads("d2"), overlap=2)
        wrapper.compile(keras.optimizers.SGD(1.0), crossentropy, **mode)
        before = arrays(wrapper.base.trainable_variables)
        wrapper.fit(*data, batch_size=32, verbose=0)
        after = arrays(wrapper.base.trainable_variables)
        moves.append([a - b for a, b in zip(after, before, strict=True)])
    for index, (ours, theirs) in enumerate(zip(*moves, strict=True)):
        factor = 2.0 if index < 4 else 1.0
        np.testing.assert_allclose(ours, factor * theirs, 1e-4, 1e-5)


@pytest.mark.parametrize("overlap", [0, 1, 3])
def test_small_gradients_survive_half_precision(data, crossentropy, overlap):
    """The direction of a step in float16 is that of float32."""
    moves = []
    for policy in ("mixed_float16", "float32"):
        keras.config.set_dtype_policy(policy)
        wrapper = RelayBackpropagation(
            chain(), heads("d3", alpha=1e-4), overlap=overlap
        )
        wrapper.compile(keras.optimizers.SGD(1e4), crossentropy)
        before = arrays(wrapper.base.trainable_variables)
        wrapper.fit(*data, batch_size=32, verbose=0)
        after = arrays(wrapper.base.trainable_variables)
        moves.append(after[0] - before[0])
    ours, theirs = (move.ravel() for move in moves)
    assert np.linalg.norm(ours - theirs) < 0.02 * np.linalg.norm(theirs)


def shared():
    layer = layers.Dense(6, name="same")
    inputs = keras.Input((8,))
    x = layers.Dense(6, name="low")(inputs)
    x = layer(layers.Dense(6, name="mid")(layer(x)))
    x = layers.Dense(6, name="high")(x)
    return keras.Model(inputs, layers.Dense(3, name="out")(x))


def test_what_is_handed_over_is_not_part_of_the_loss(net, data, crossentropy):
    """A gradient that is not finite makes no NaN of a loss that is."""
    keras.config.set_dtype_policy("mixed_float16")
    head = Head(loss=lambda y, scores: ops.sum(ops.sqrt(0 * scores), -1))
    wrapper = RelayBackpropagation(net(), {"hidden_1": head})
    start = arrays(wrapper.trainable_variables)
    wrapper.compile("sgd", crossentropy)
    history = wrapper.fit(*data, verbose=0).history
    assert history["loss"] == history["task_loss"]
    for old, new in zip(
        start, arrays(wrapper.trainable_variables), strict=True
    ):
        np.testing.assert_array_equal(old, new)  # The step is skipped.


def test_a_shared_layer_within_a_segment(data, crossentropy):
    wrapper = RelayBackpropagation(shared(), heads("high"))
    wrapper.compile("sgd", crossentropy)
    assert np.isfinite(wrapper.fit(*data, verbose=0).history["loss"]).all()


@pytest.mark.parametrize(
    "make, names, arguments, error, message",
    [
        (
            chain,
            ["d3"],
            {"segments": {"d3": ("d0", "d3"), "output": ("d5", "out")}},
            ValueError,
            r"gap: the layers \['d4'\] get no",
        ),
        (
            chain,
            ["d3"],
            {"segments": {"d3": ("d1", "d3"), "output": ("d2", "out")}},
            ValueError,
            r"gap: the layers \['d0'\] get no",
        ),
        (
            chain,
            ["d3"],
            {"segments": {"d3": ("d7", "d3"), "output": ("d3", "out")}},
            ValueError,
            "Did you mean 'd",
        ),
        (
            chain,
            ["d3"],
            {"segments": {"d3": ("d0", "d3"), "outputs": ("d3", "out")}},
            ValueError,
            r"loss 'outputs'.*Did you mean 'output'",
        ),
        (
            chain,
            ["d3"],
            {"segments": {"output": ("d3", "out")}},
            ValueError,
            r"without the losses \['d3'\]",
        ),
        (
            chain,
            ["d3"],
            {"segments": {"d3": ("d0", "d2"), "output": ("d2", "out")}},
            ValueError,
            "must end at 'd3'",
        ),
        (
            chain,
            ["d3"],
            {"segments": {"d3": "d0", "output": ("d3", "out")}},
            TypeError,
            "Pass a pair",
        ),
        (
            chain,
            ["d3"],
            {"segments": {"d3": ("d2", "d3"), "output": ("d0", "out")}},
            ValueError,
            "begin with the highest segment",
        ),
        (chain, ["d3"], {"segments": "blocks"}, TypeError, "'auto' or a"),
        *(
            (chain, ["d3"], {"overlap": n}, ValueError, "number of at least 0")
            for n in (-1, 1.5, "1", True, math.nan)
        ),
        (chain, ["d9"], {}, ValueError, "Did you mean"),
        (chain, ["out"], {}, ValueError, "makes the model's output"),
        (shared, ["mid"], {}, ValueError, "came shared with 'same'"),
    ],
)
def test_what_cannot_be(make, names, arguments, error, message):
    with pytest.raises(error, match=message):
        RelayBackpropagation(make(), heads(*names), **arguments)


@pytest.mark.parametrize("inner", [DeepSupervision, RelayBackpropagation])
@pytest.mark.parametrize("outer", [DeepSupervision, RelayBackpropagation])
def test_heads_belong_into_one_wrapper(inner, outer):
    if inner is outer is DeepSupervision:
        return  # Their terms add up.
    with pytest.raises(ValueError, match="Give all heads to one"):
        outer(inner(chain(), heads("d2")), heads("d4"))


def test_frozen_layers_leave_no_gap(data, crossentropy):
    model = chain()
    for index in range(2):
        model.get_layer(f"d{index}").trainable = False
    segments = {"d4": ("d2", "d4"), "output": ("d4", "out")}
    wrapper = RelayBackpropagation(model, heads("d4"), segments)
    wrapper.compile("sgd", crossentropy)
    wrapper.fit(*data, verbose=0)
    assert describe_reach(wrapper).layers[0] == "d2"


def test_settings_survive_a_file(data, crossentropy, tmp_path):
    segments = {"d3": ("d0", "d3"), "output": ("d2", "out")}
    wrapper = RelayBackpropagation(chain(), heads("d3"), segments)
    wrapper.compile("adam", crossentropy)
    wrapper.fit(*data, verbose=0)
    wrapper.save(tmp_path / "w.keras")
    read = keras.models.load_model(tmp_path / "w.keras")
    assert describe_reach(read) == describe_reach(wrapper)
    one, other = (m.fit(*data, verbose=0).history for m in (wrapper, read))
    assert one == {k: pytest.approx(v, rel=1e-5) for k, v in other.items()}
