"""What holds for every reference network."""

import keras
import numpy as np
import pytest

from tests.helpers import arrays, close, copy_weights, images
from tests.models.symbolic import symbolic
from tfdeep.layers import ResidualBlock, StochasticDepth, linear_survival
from tfdeep.models import Architecture, DenseNet, ResNet, ResNeXt, WideResNet
from tfdeep.models.architecture import blocks_per_stage, look_up_depth

NETWORKS = {
    "resnet": lambda **kw: ResNet(8, **kw),
    "resnet-v2": lambda **kw: ResNet(8, preactivation=True, **kw),
    "wide": lambda **kw: WideResNet(10, 1, **kw),
    "resnext": lambda **kw: ResNeXt(11, 2, 16, **kw),
    "densenet": lambda **kw: DenseNet(10, 4, **kw),
    "imagenet": lambda **kw: ResNet(18, form="imagenet", **kw),
}
CIFAR = [name for name in NETWORKS if name != "imagenet"]
RESIDUAL = [name for name in CIFAR if name != "densenet"]
SMALL = {"input_shape": (16, 16, 3), "data_format": "channels_last"}
every = pytest.mark.parametrize("name", NETWORKS)
every_cifar = pytest.mark.parametrize("name", CIFAR)
every_residual = pytest.mark.parametrize("name", RESIDUAL)
# Where an option is of the code that all residual networks share.
one_of_each = pytest.mark.parametrize("name", ["resnet", "densenet"])


@pytest.fixture(scope="module")
def built():
    """The network of a name, made once and changed by no test."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = NETWORKS[name](seed=0, classes=7, **SMALL)
        return made[name]

    return get


@every
def test_it_ends_in_probabilities_or_logits(name, built):
    model, x = built(name), images(2, 16, 16, 3)
    y = np.asarray(model(x))
    assert y.shape == (2, 7)
    logits = np.asarray(keras.Model(model.input, _logits(model))(x))
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    close([y], [exponents / exponents.sum(1, keepdims=True)], 1e-4, 1e-6)


def _logits(model):
    return model.get_layer("logits").output


@one_of_each
def test_without_activation_it_returns_logits(name, built):
    build, x = NETWORKS[name], images(2, 16, 16, 3)
    options = {"classes": 7, "seed": 0, **SMALL}
    model = build(classifier_activation=None, **options)
    expected = keras.Model(built(name).input, _logits(built(name)))(x)
    close([np.asarray(model(x))], [np.asarray(expected)], 1e-4, 1e-5)


@every
def test_without_top_it_ends_in_feature_maps(name):
    model = symbolic(NETWORKS[name], include_top=False, **SMALL)
    stride = 32 if name == "imagenet" else 4
    assert len(model.output.shape) == 4
    assert model.output.shape[1:3] == (-(-16 // stride),) * 2
    assert not any(layer.name == "logits" for layer in model.layers)


@every
def test_any_input_size(name, built):
    """Unknown sizes, with the weights of a net of known size."""
    shape = {**SMALL, "input_shape": (None, None, 3)}
    free = NETWORKS[name](classes=7, **shape)
    copy_weights(built(name), free)
    x = images(1, 16, 16, 3)
    close([np.asarray(free(x))], [np.asarray(built(name)(x))], 1e-4, 1e-6)
    assert free(images(1, 21, 35, 3)).shape == (1, 7)


@every
def test_channels_first_is_the_transpose(name, built):
    first = NETWORKS[name](
        input_shape=(3, 16, 16), data_format="channels_first", classes=7
    )
    copy_weights(built(name), first)
    x = images(2, 16, 16, 3)
    expected = np.asarray(built(name)(x))
    y = np.asarray(first(x.transpose(0, 3, 1, 2)))
    close([y], [expected], rtol=1e-3, atol=1e-5)


@every_cifar
def test_channels_and_default_shapes(name):
    build = NETWORKS[name]
    gray = symbolic(build, input_shape=(28, 28, 1))
    assert gray.input.shape[1:] == (28, 28, 1)
    first = symbolic(build, data_format="channels_first")
    assert first.input.shape[1:] == (3, 32, 32)
    last = symbolic(build, data_format="channels_last")
    assert last.input.shape[1:] == (32, 32, 3)
    assert last.output.shape == (None, 10)


def test_defaults_of_the_imagenet_form():
    model = symbolic(NETWORKS["imagenet"], data_format="channels_last")
    assert model.input.shape[1:] == (224, 224, 3)
    assert model.output.shape == (None, 1000)


@every_cifar
def test_group_norm_has_no_batch_statistics(name):
    group, batch = (
        symbolic(NETWORKS[name], norm=norm, **SMALL)
        for norm in ("group", "batch")
    )
    assert group.non_trainable_variables == []
    shapes = [
        [tuple(w.shape) for w in m.trainable_variables] for m in (group, batch)
    ]
    assert shapes[0] == shapes[1]


@one_of_each
def test_with_group_norm_samples_do_not_meet(name):
    model = NETWORKS[name](norm="group", seed=0, **SMALL)
    x = images(3, 16, 16, 3)
    whole = np.asarray(model(x, training=True))
    close([np.asarray(model(x[:1], training=True))], [whole[:1]], 1e-3, 1e-5)


def blocks(model):
    return [layer for layer in model.layers if isinstance(layer, ResidualBlock)]


@every_residual
def test_survival_follows_the_linear_rule(name):
    for last in (0.0, 0.5):
        model = symbolic(NETWORKS[name], survival_probability=last, **SMALL)
        found = [block.survival_probability for block in blocks(model)]
        assert len(found) == 3
        assert found == linear_survival(3, last)
        wrappers = [block.branch for block in blocks(model)]
        assert all(isinstance(branch, StochasticDepth) for branch in wrappers)
        assert [w.survival_probability for w in wrappers] == found


@every_residual
def test_blocks_drop_on_their_own(name):
    options = {"survival_probability": 0.5, "seed": 0, **SMALL}
    model = symbolic(NETWORKS[name], **options)
    seeds = [block.branch.seed for block in blocks(model)]
    assert None not in seeds and len(set(seeds)) == len(seeds)


@every_residual
def test_survival_1_has_no_wrapper(name, built):
    assert len(blocks(built(name))) == 3
    assert not any(
        isinstance(block.branch, StochasticDepth)
        for block in blocks(built(name))
    )


def test_a_densenet_has_no_branch_to_skip():
    with pytest.raises(ValueError, match="no residual branch.*`rate`"):
        DenseNet(10, 4, survival_probability=0.5)


@every
def test_weight_decay_is_on_every_trainable_weight(name):
    decay = 0.02
    model = symbolic(NETWORKS[name], weight_decay=decay, **SMALL)
    assert all(w.regularizer is not None for w in model.trainable_variables)
    for weight in model.trainable_variables:
        assert float(weight.regularizer.l2) == pytest.approx(decay / 2)


@one_of_each
def test_weight_decay_is_half_the_sum_of_squares(name):
    model = NETWORKS[name](weight_decay=0.02, **SMALL)
    squares = sum(
        float(np.sum(w.astype("float64") ** 2))
        for w in arrays(model.trainable_variables)
    )
    total = sum(float(loss) for loss in model.losses)
    assert total == pytest.approx(0.01 * squares, rel=1e-4)


@every
def test_weight_decay_0_is_none(name):
    assert symbolic(NETWORKS[name], weight_decay=0, **SMALL).losses == []


@pytest.mark.parametrize(
    "name,decay",
    [
        ("resnet", 1e-4),
        ("wide", 5e-4),
        ("resnext", 5e-4),
        ("densenet", 1e-4),
    ],
)
def test_weight_decay_of_the_paper(name, decay, built):
    weight = built(name).trainable_variables[0]
    assert 2 * float(weight.regularizer.l2) == pytest.approx(decay)


@every_cifar
def test_equal_seeds_give_equal_weights(name, built):
    """And within a net no two kernels are equal."""
    first = arrays(built(name).trainable_variables)
    again = NETWORKS[name](seed=0, classes=7, **SMALL)
    close(first, arrays(again.trainable_variables), rtol=0, atol=0)
    kernels = [weight for weight in first if weight.ndim > 1]
    starts = {tuple(kernel.ravel()[:4]) for kernel in kernels}
    assert len(starts) == len(kernels)


@one_of_each
@pytest.mark.parametrize("seed", [1, None])
def test_another_seed_gives_other_weights(name, seed, built):
    other = NETWORKS[name](seed=seed, classes=7, **SMALL)
    pairs = zip(
        arrays(built(name).trainable_variables),
        arrays(other.trainable_variables),
        strict=True,
    )
    assert all(np.any(a != b) for a, b in pairs if a.ndim > 1)


@every_cifar
def test_clone_and_summary(name, built):
    model = built(name)
    clone = keras.models.clone_model(model)
    copy_weights(model, clone)
    x = images(2, 16, 16, 3)
    close([np.asarray(clone(x))], [np.asarray(model(x))])
    lines = []
    model.summary(print_fn=lambda line, **_: lines.append(line))
    assert f"{model.count_params():,}" in "\n".join(lines)


def test_names():
    for expected, build, *arguments in (
        ("resnet_8", ResNet, 8),
        ("resnet_v2_8", ResNet, 8, None, True),
        ("wide_resnet_10_2", WideResNet, 10, 2),
        ("resnext_11_2x16d", ResNeXt, 11, 2, 16),
        ("densenet_10_4", DenseNet, 10, 4),
    ):
        assert symbolic(build, *arguments).name == expected
        assert symbolic(build, *arguments, name="mine").name == "mine"


class TestArguments:
    @pytest.mark.parametrize(
        "name,value",
        [
            ("form", "mnist"),
            ("norm", "layer"),
            ("data_format", "NCHW"),
            ("fan_mode", "avg"),
            ("survival_probability", 1.5),
            ("classes", 0),
        ],
    )
    def test_out_of_range(self, name, value):
        with pytest.raises(ValueError, match=f"Received: {name}={value!r}"):
            ResNet(8, **{name: value})

    def test_weight_decay(self):
        with pytest.raises(ValueError, match="Received: weight_decay=-1"):
            ResNet(8, weight_decay=-1)

    @pytest.mark.parametrize(
        "shape", [(32, 32), (32, 32, None), (32, 32, 3, 1)]
    )
    def test_input_shape(self, shape):
        with pytest.raises(ValueError, match="Received: input_shape="):
            ResNet(8, input_shape=shape, data_format="channels_last")

    def test_a_misspelt_argument(self):
        with pytest.raises(TypeError, match="survival"):
            ResNet(8, survival=0.5)

    def test_an_architecture_alone(self):
        settings = Architecture(form="imagenet", data_format="channels_last")
        assert settings.imagenet and settings.classes == 1000
        assert settings.input_shape == (224, 224, 3)


@pytest.mark.parametrize(
    "depth,step,offset,count", [(20, 6, 2, 3), (1202, 6, 2, 200), (28, 6, 4, 4)]
)
def test_blocks_per_stage(depth, step, offset, count):
    assert blocks_per_stage(depth, step, offset, "net") == count


@pytest.mark.parametrize(
    "depth,below,above", [(21, 20, 26), (25, 20, 26), (3, 8, 14), (-5, 8, 14)]
)
def test_a_wrong_depth_names_its_neighbours(depth, below, above):
    message = (
        f"`depth` must be 6n.2 in a net. Received: depth={depth}. "
        f"The nearest valid depths are {below} and {above}."
    )
    with pytest.raises(ValueError, match=message):
        blocks_per_stage(depth, 6, 2, "net")


def test_an_unknown_depth_names_the_nearest():
    table = {18: "a", 34: "b", 50: "c"}
    assert look_up_depth(34, table, "net") == "b"
    with pytest.raises(ValueError, match="The nearest are 34 and 50"):
        look_up_depth(40, table, "net")
