"""What a compact model keeps, and how it trains on."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops, optimizers

import tfdeep
from tests.helpers import BACKEND, arrays
from tests.pruning.zoo import EXACT, conv, filled, head, inputs_for
from tfdeep.pruning import ChannelGraph, Magnitude, Random, prune, verify

OPTIMIZERS = {
    "SGD": lambda: optimizers.SGD(0.05, momentum=0.9),
    "AdamW": lambda: optimizers.AdamW(0.01, weight_decay=0.1, use_ema=True),
    "RMSprop": lambda: optimizers.RMSprop(0.01, centered=True),
    "accumulating": lambda: optimizers.Adam(
        0.01, gradient_accumulation_steps=2
    ),
}


def net(**options):
    i = keras.Input((6, 6, 3))
    x = conv(
        8,
        "a",
        kernel_regularizer=keras.regularizers.L2(0.01),
        kernel_constraint="max_norm",
        **options,
    )(i)
    x = layers.BatchNormalization(name="norm")(x)
    x = conv(6, "b", activation="relu")(layers.ReLU(name="relu")(x))
    return keras.Model(i, head(x), name="small_net")


def halved(model, optimizer="keep"):
    graph = ChannelGraph(model)
    plan = graph.plan(Magnitude().scores(graph), ratio=0.5, scope="local")
    return plan, plan.compact(model, optimizer=optimizer)


def images(rows=8, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 6, 6, 3)).astype("float32")
    return x, rng.normal(size=(rows, 3)).astype("float32")


class TestWhatIsKept:
    def test_configurations(self):
        model = net()
        model.get_layer("norm").trainable = False
        model.get_layer("a").trainable = False
        _, small = halved(model)
        assert small.name == "small_net" and type(small) is type(model)
        for old, new in zip(model.layers, small.layers, strict=True):
            assert type(new) is type(old) and new.name == old.name
            assert new.trainable == old.trainable
            before, after = old.get_config(), new.get_config()
            changed = {k for k in before if before[k] != after[k]}
            assert changed <= {"filters"}
        assert small.get_layer("a").filters == 4

    def test_the_weights_are_slices(self):
        model = filled(net())
        plan, small = halved(model)
        kept = plan.kept["a"]
        old, new = (m.get_layer("norm") for m in (model, small))
        for one, other in zip(old.weights, new.weights, strict=True):
            np.testing.assert_array_equal(np.array(one)[kept], other)
        old, new = (m.get_layer("b").kernel for m in (model, small))
        expected = np.array(old)[:, :, kept][..., plan.kept["b"]]
        np.testing.assert_array_equal(expected, new)

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_mixed_precision(self, policy):
        model = filled(net(dtype=policy))
        _, small = halved(model)
        assert small.get_layer("a").dtype_policy.name == policy
        assert small.get_layer("b").dtype_policy.name == "float32"

    def test_how_it_is_compiled(self):
        model = net()
        model.compile("adam", "mse", metrics=["mae"], jit_compile=False)
        _, small = halved(model)
        assert small.compiled and small.loss == "mse"
        assert small.jit_compile is False
        x, y = images()
        assert set(small.fit(x, y, verbose=0).history) == {"loss", "mae"}

    def test_a_model_that_is_not_compiled(self):
        assert not halved(net())[1].compiled

    def test_a_hand_written_model(self):
        class ByHand(keras.Model):
            def __init__(self):
                super().__init__()
                self.low = conv(8, "low")
                self.norm = layers.BatchNormalization()
                self.out = layers.Dense(2)

            def call(self, inputs, training=False):
                x = self.norm(self.low(inputs), training=training)
                return self.out(ops.mean(ops.relu(x), axis=(1, 2)))

        model = ByHand()
        x, _ = images()
        model(x)
        filled(model)
        plan, small = halved(model)
        assert list(plan.removed) == ["low"]
        assert verify(model, small, plan, x).exact

    def test_frozen_parts_and_seeds_in_blocks(self):
        model = tfdeep.models.ResNet(
            8, input_shape=(8, 8, 3), classes=2, survival_probability=0.5
        )
        model.get_layer("stage2_block1").trainable = False
        _, small = halved(model)
        frozen = [v.path for v in small.weights if not v.trainable]
        assert any(p.startswith("stage2_block1") for p in frozen)
        assert len(small.trainable_weights) == len(model.trainable_weights)


class TestTraining:
    @pytest.mark.parametrize(
        ("kind", "jit_compile"),
        [(kind, number % 2 > 0) for number, kind in enumerate(OPTIMIZERS)],
    )
    def test_dead_channels_change_no_later_step(self, kind, jit_compile):
        """Weights, gradients and slots of what goes are 0: nobody can tell."""
        model = filled(net())
        model.compile(OPTIMIZERS[kind](), "mse", jit_compile=jit_compile)
        graph = ChannelGraph(model)
        plan = graph.plan(Random(seed=0).scores(graph), ratio=0.5)
        plan.mask(model)
        x, y = images()
        for _ in range(2):  # Slots are made, of masked weights.
            model.train_on_batch(x, y)
        plan.mask(model)
        small = plan.compact(model)
        for step in range(3):
            logs = [m.train_on_batch(x, y) for m in (model, small)]
            np.testing.assert_allclose(*logs, rtol=2e-5, err_msg=str(step))
        again = plan.compact(model)
        for one, other in zip(again.weights, small.weights, strict=True):
            np.testing.assert_allclose(one, other, 1e-4, 1e-5, err_msg=one.path)

    @pytest.mark.parametrize("kind", ["SGD", "AdamW"])
    def test_slots_are_cut_as_weights_are(self, kind):
        model = filled(net())
        model.compile(OPTIMIZERS[kind](), "mse")
        x, y = images()
        model.train_on_batch(x, y)
        plan, small = halved(model)
        name = "momentums" if kind == "SGD" else "_velocities"
        old, new = (getattr(m.optimizer, name) for m in (model, small))
        kept = plan.kept["a"]
        np.testing.assert_array_equal(np.array(old[0])[..., kept], new[0])
        assert np.any(arrays([new[0]])[0])
        assert int(small.optimizer.iterations) == 1
        fresh = plan.compact(model, optimizer="new")
        assert int(fresh.optimizer.iterations) == 0

    def test_penalties_stay(self):
        _, small = halved(filled(net()))
        assert len(small.losses) == 1

    def test_wrappers_and_starts_take_it(self):
        _, small = halved(filled(EXACT["squeeze_excite"][0]()))
        x, y = images()
        loss = small.compile("sgd", "mse") or small.evaluate(x, y, verbose=0)
        noise = tfdeep.privacy.GaussianMechanism(noise_multiplier=1.0)
        private = tfdeep.PrivateModel(small, mechanism=noise)
        private.compile("sgd", "mse")
        private.fit(x, y, batch_size=4, verbose=0)
        assert small.evaluate(x, y, verbose=0) != loss
        tfdeep.AutoInit(seed=0).initialize_model(small)
        wrapped = tfdeep.BatchEntropyRegularizer(small)
        wrapped.compile("sgd", "mse")
        assert np.isfinite(wrapped.fit(x, y, verbose=0).history["loss"][0])


def test_prune_in_one_call():
    model = filled(net())
    small = prune(model, 0.5, scope="local")
    assert small.count_params() == halved(model)[1].count_params()
    x, y = images()
    with pytest.raises(ValueError, match="`loss` must be given"):
        prune(model, 0.25, "taylor", x, y)
    given = prune(model, 0.25, "taylor", x, y, loss="mse")
    model.compile("sgd", "mse")
    taylor = prune(model, 0.25, "taylor", x, y)
    for one, other in zip(taylor.variables, given.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    assert taylor.get_layer("a").filters <= 8
    budget = prune(model, criterion="random", max_multiply_adds=0.5)
    count = tfdeep.models.multiply_adds
    assert count(budget) <= count(model) / 2
    half = prune(model, criterion=Magnitude(2), scope={"a": 0.5})
    assert half.get_layer("a").filters == 4
    assert half.get_layer("b").filters == 6


def test_excluded_layers_keep_their_width():
    small = prune(filled(net()), 0.5, exclude=["b"], scope="local")
    assert small.get_layer("a").filters == 4
    assert small.get_layer("b").filters == 6


class TestRefused:
    def test_no_model(self):
        with pytest.raises(TypeError, match="must be a keras.Model"):
            prune(layers.Dense(3))

    def test_an_unbuilt_model(self):
        with pytest.raises(ValueError, match="must be built"):
            prune(keras.Sequential([layers.Dense(3)]))

    def test_lora(self):
        model = net()
        model.get_layer("b").enable_lora(2)
        with pytest.raises(ValueError, match="with quantized \\[\\], LoRA"):
            prune(model)

    def test_quantized(self):
        model = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
        model.add(layers.Dense(2))
        model.layers[0].quantize("int8")
        with pytest.raises(ValueError, match="must have plain weights"):
            prune(model)

    def test_criterion(self):
        with pytest.raises(ValueError, match="`criterion`"):
            prune(net(), criterion="size")

    @pytest.mark.parametrize("ratio", [1.0, -1, "half"])
    def test_ratio(self, ratio):
        with pytest.raises(ValueError, match="`ratio` must be"):
            prune(net(), ratio)

    def test_optimizer(self):
        model = net()
        graph = ChannelGraph(model)
        plan = graph.plan(Magnitude().scores(graph), ratio=0.5)
        with pytest.raises(ValueError, match="`optimizer` must be one of"):
            plan.compact(model, optimizer=optimizers.Adam())

    def test_an_optimizer_of_another_model(self):
        model, other = net(), net()
        other.compile("adam", "mse")
        other.train_on_batch(*images())
        plan, _ = halved(model)
        model.compile(other.optimizer, "mse")
        with pytest.raises(ValueError, match="weights of another"):
            plan.compact(model)
        small = plan.compact(model, optimizer="new")
        assert small.get_layer("a").filters == 4


def test_sizes_that_are_not_known():
    i = keras.Input((None, None, 3))
    model = filled(keras.Model(i, head(conv(8, "a")(i))))
    plan, small = halved(model)
    assert plan.multiply_adds == (None, None) and "unknown" in str(plan)
    assert verify(model, small, plan, images()[0]).exact
    graph = ChannelGraph(model)
    with pytest.raises(ValueError, match="inputs whose sizes are not known"):
        graph.plan(Magnitude().scores(graph), max_multiply_adds=0.5)


def test_masked_models_warn(tmp_path):
    model = filled(EXACT["residual"][0]())
    graph = ChannelGraph(model)
    plan = graph.plan(Random(seed=0).scores(graph), ratio=0.4)
    small = plan.compact(model)
    plan.mask(model)
    x = inputs_for(model)
    np.testing.assert_allclose(
        model.predict(x, verbose=0), small.predict(x, verbose=0), 1e-5, 1e-6
    )
    plan.mask(model)  # Again: one warning is enough.
    model.compile("sgd", "mse")
    y = small.predict(x, verbose=0)
    path = str(tmp_path / "masked.keras")
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    weights = str(tmp_path / "masked.weights.h5")
    ways = [
        lambda: model.save(path),
        lambda: model.save(str(tmp_path / "masked.h5")),
        lambda: keras.saving.save_model(model, path),
        lambda: model.save_weights(weights),
        lambda: keras.Sequential([model.input, model]).save(path),
        lambda: model.fit(x, y, callbacks=[checkpoint], verbose=0),
    ]
    if BACKEND == "tensorflow":
        ways.append(lambda: model.export(tmp_path / "masked", verbose=False))
    for way in ways:
        with pytest.warns(UserWarning, match="nothing is smaller") as found:
            way()
        assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keras.models.clone_model(model)
        small.save(path)
        keras.saving.load_model(path)
