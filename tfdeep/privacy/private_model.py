"""A Keras model that is trained with differential privacy."""

import inspect
import math
import warnings

import keras
from keras import ops, tree

from tfdeep.checks import check_choice, check_positive, check_seed
from tfdeep.fitting import callbacks_with
from tfdeep.graph.trace import input_shape_of, symbols
from tfdeep.privacy import resumable
from tfdeep.privacy.averaging import Averaging
from tfdeep.privacy.clipping import as_clipping
from tfdeep.privacy.gate import check_batch, check_data, check_shared
from tfdeep.privacy.ledger import Ledger
from tfdeep.privacy.mechanisms import as_mechanism
from tfdeep.privacy.memory import Memory
from tfdeep.privacy.noise import NoiseSource
from tfdeep.privacy.per_example import METHODS
from tfdeep.privacy.private_evaluate import PrivateEvaluate
from tfdeep.privacy.refusals import check_refused
from tfdeep.privacy.statement import Statement
from tfdeep.privacy.truth import as_tensor, first_example, one_of
from tfdeep.privacy.views import Views


def symbol_of(tensor):
    """What stands for a tensor where nothing is computed."""
    return keras.KerasTensor(
        tensor.shape, keras.backend.standardize_dtype(tensor.dtype)
    )


@keras.saving.register_keras_serializable(package="tfdeep")
class PrivateModel(PrivateEvaluate):
    """Trains a model with differential privacy, in an ordinary `fit`.

    Put it around any Keras model, compile it with any loss, optimizer and
    metrics, and fit. The gradient of each example is clipped, the sum gets
    noise, and the optimizer steps with

        (sum_i min(1, C / |g_i|) g_i + sigma C N(0, I)) / expected batch size

    where g_i is the gradient of the compiled loss of example i alone, a batch
    of one, times its weight. `.base` is the model as it was given, and stays
    plain. Updates are counted by the model: the count is saved with it, and
    never falls while it lives, whatever weights or files it is given. `fit`
    stops before the update that would exceed the plan; `epsilon` is in its
    logs. Training losses and metrics, and `clipped_fraction`, are computed
    from the data without noise: they are not private.

    What depends on the trainable weights, the optimizer or the settings is
    made anew by `compile`. Layers that skip something at random, such as
    `StochasticDepth`, decide for each example by itself.

    Gradients are had by book-keeping where a layer is known, from one forward
    and one backward pass; by running the layer again on each example where it
    is not; and by running the whole model on each example where its layers
    cannot be told apart. `describe_clipping()` lists which. Before the first
    step the gradients of one example are compared with plain differentiation;
    if they differ, the last of these ways is taken, with a warning.

    Noise is drawn from the operating system's entropy and nothing else; under
    `tf.distribute` it is added once for all devices.

    Reference:
        Abadi, Chu, Goodfellow, McMahan, Mironov, Talwar, Zhang, "Deep
        Learning with Differential Privacy", 2016, algorithm 1. Deviation: an
        example whose gradient is not finite adds nothing, and is counted in
        `non_finite_examples`.

    Args:
        base: a `keras.Model`.
        plan: a `Plan`. Without one nothing is promised, noise comes from the
            mechanism, and the divisor is the size of the batch.
        l2_norm_clip: float above 0, the C of the formula, or a clipping:
            `FlatClipping`, `PerLayerClipping`, `AutomaticClipping`.
        mechanism: `"gaussian"`, or a mechanism: `GaussianMechanism`,
            `AdaptiveClipping`, `TreeAggregation`.
        method: `"auto"`; `"vectorized"` or `"loop"` to run the whole model on
            each example.
        augmentation: `Views` of each example, averaged before the clip.
        microbatch_size: integer, how many examples are in memory at once.
            The result is the same.
        averaging: `Averaging` of the weights, evaluated beside them.
        seed: `None`, or an integer that makes the noise repeat: for tests,
            unfit for release.
        **kwargs: `name` of the model.

    Call arguments:
        inputs: what the base takes.
        training: boolean, handed to the base.

    Input shape:
        That of the base.

    Output shape:
        That of the base.

    Raises:
        TypeError: if `base` is no `keras.Model`.
        NotPrivateError: if the model, the optimizer or the data cannot be
            trained on privately.
        RuntimeError: if the plan is spent.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> last = keras.layers.Dense(2, name="last")
        >>> net = keras.Sequential([keras.Input((4,)), last])
        >>> noise = tfdeep.privacy.GaussianMechanism(noise_multiplier=1.0)
        >>> model = tfdeep.privacy.PrivateModel(net, mechanism=noise)
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")
        >>> history = model.fit(x, y, batch_size=4, verbose=0)
        >>> model.count_of_updates()
        2
        >>> print(model.describe_clipping())
        last  Dense  book-keeping
    """

    wraps_base = True

    def __init__(
        self,
        base: keras.Model,
        plan=None,
        l2_norm_clip=1.0,
        mechanism="gaussian",
        method: str = "auto",
        augmentation: Views | None = None,
        microbatch_size: int | None = None,
        averaging: Averaging | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        if not isinstance(base, keras.Model):
            raise TypeError(
                "`base` must be a keras.Model, which PrivateModel wraps. "
                f"Received: base={type(base).__name__}. Pass a model."
            )
        if microbatch_size is not None:
            check_positive("microbatch_size", microbatch_size)
        check_choice("method", method, METHODS)
        check_refused(base)
        check_seed(seed)
        super().__init__(autocast=False, dtype=base.dtype_policy, **kwargs)
        self.base = base
        self._plan = plan
        self._samples_are_seeded = False
        self._given_clipping = as_clipping(l2_norm_clip)
        self._given_mechanism = as_mechanism(mechanism)
        self._chose_mechanism = mechanism != "gaussian"
        self.method = method
        self.augmentation = augmentation
        self.microbatch_size = microbatch_size
        self.averaging = averaging
        self.supports_masking = True
        self.noise = NoiseSource(seed)
        self.noise_generator = self.noise.generator
        if augmentation is not None:
            self.augmenter = augmentation.layer  # Keras tracks its streams.
        self.clipped_fraction = keras.metrics.Mean("clipped_fraction")
        self.memory = Memory()
        self._sees_examples = False
        self._tests = False
        self._loss_is_built = False
        self._private = None
        shape = input_shape_of(base) if base.built else None
        if shape is not None:
            self.build(shape)

    def build(self, input_shape):
        if not self.base.built:
            self.base(symbols(input_shape))
        super().build(input_shape)

    @property
    def plan(self):
        """The `Plan`, or `None`; another one takes another model."""
        return self._plan

    def load_weights(self, filepath, *args, **kwargs):
        self.memory.told = False
        super().load_weights(filepath, *args, **kwargs)
        if not self.memory.told:
            warnings.warn(
                f"The file {filepath!s} does not say of how many private "
                "updates its weights are: `epsilon()` tells of those made here "
                "alone. Files that end in .weights.h5 or .keras say it.",
                stacklevel=2,
            )

    def call(self, inputs, training=None):
        return self.base(inputs, training=training)

    def compute_mask(self, inputs, mask=None):
        return None  # Outputs come with the masks that the model gave them.

    def compute_output_shape(self, input_shape):
        return self.base.compute_output_shape(input_shape)

    def overridden(self, names):
        kinds = type(self).__mro__
        below = [self, *kinds[: kinds.index(PrivateModel)]]
        return [n for n in names if any(n in vars(each) for each in below)]

    @property
    def input_shape(self):
        """The input shape of the model inside, if it has one."""
        return self.base.input_shape

    @property
    def output_shape(self):
        """The output shape of the model inside, if it has one."""
        return self.base.output_shape

    @property
    def losses(self):
        """Losses that layers added; none while the loss is of one example."""
        return [] if self._sees_examples else super().losses

    def clipped_sum(self, x, y, sample_weight=None) -> list:
        """The clipped sum of gradients over a batch, without noise.

        Args:
            x: inputs of a batch.
            y: targets.
            sample_weight: optional weights of the examples.

        Returns:
            A list of tensors, one per trainable weight. Not private.
        """
        return self._examine(x, y, sample_weight).sums

    def per_example_norms(self, x, y, sample_weight=None):
        """The norm of the gradient of each example, before the clip.

        Args:
            x: inputs of a batch.
            y: targets.
            sample_weight: optional weights of the examples.

        Returns:
            A tensor (batch,), 0 where it is not finite. Not private.
        """
        return self._examine(x, y, sample_weight).norms

    def _examine(self, x, y, sample_weight):
        parts = tree.map_structure(
            lambda t: None if t is None else ops.convert_to_tensor(t),
            (x, y, sample_weight),
        )
        self._make_loss(*parts)
        return self._summed(*parts)

    def describe_clipping(self) -> str:
        """How the gradients of each layer are had, as a table."""
        if not self.built:
            raise ValueError(
                "The model must be built. Received: one that is not. Build "
                "it first, or call it once."
            )
        return self._private.engine.describe()

    def epsilon(self) -> float:
        """The privacy spent so far; infinite without a plan."""
        if self.plan is None:
            return math.inf
        return self.plan.epsilon_after(self.count_of_updates())

    def statement(self) -> Statement:
        """The guarantee of the plan in words; it names a fixed seed."""
        if self.plan is None:
            return Statement(
                "No guarantee is claimed: the model was trained without a plan."
            )
        seeded = self.noise.is_fixed or self._samples_are_seeded
        return self.plan.statement(seeded=seeded)

    def epoch_logs(self) -> dict[str, float]:
        """What is logged once an epoch, beside the metrics."""
        return {} if self.plan is None else {"epsilon": self.epsilon()}

    def fit(self, *args, **kwargs):
        bound = inspect.signature(super().fit).bind(*args, **kwargs)
        self._check_left()
        check_data(self.plan, bound.arguments, self.accumulation())
        check_shared(bound.arguments, self.devices())
        self._prepare()
        if self.built and not self._private.checked:
            self._check_loss(first_example(bound.arguments))
        self.noise.refresh()
        callbacks = bound.arguments.get("callbacks")
        bound.arguments["callbacks"] = callbacks_with(callbacks, Ledger(), self)
        if getattr(bound.arguments.get("x"), "seed", None) is not None:
            self._samples_are_seeded = True
        return super().fit(*bound.args, **bound.kwargs)

    def train_on_batch(self, *args, **kwargs):
        bound = inspect.signature(super().train_on_batch).bind(*args, **kwargs)
        self._check_left()
        x, weight = (bound.arguments.get(n) for n in ("x", "sample_weight"))
        self._prepare()
        y = bound.arguments.get("y")
        check_batch(self.plan, x, y, weight, self.accumulation())
        if self.built and not self._private.checked:
            self._check_loss(one_of((x, y, weight)))
        return super().train_on_batch(*args, **kwargs)

    def _check_loss(self, example):
        """Compare the engine with the truth on an example, if there is one."""
        if example is not None:
            example = tree.map_structure(as_tensor, example)
            self._make_loss(*example)
            self.check_engine(example)

    def _make_loss(self, x, y, weight):
        """Use the loss once: of several outputs, it makes trackers then.

        That must not happen within the loss of one example. What the outputs
        are does not matter.
        """
        if not self._loss_is_built:
            outputs = tree.map_structure(
                lambda t: ops.zeros([size or 1 for size in t.shape], t.dtype),
                self.base.compute_output_spec(tree.map_structure(symbol_of, x)),
            )
            self.compute_loss(
                y=y, y_pred=outputs, sample_weight=weight, training=False
            )
            self.reset_metrics()
            self._loss_is_built = True

    def _prepare(self):
        """What needs no batch to be refused, or known."""
        if self.built:
            self.check_unchanged()
            self._private.bind()
        else:  # There is no update yet; one of its own must be possible.
            self.mechanism.bind(
                self.plan, None if self.plan is None else self.plan.batch_size
            )

    def export(self, filepath, *args, **kwargs):
        """Export the base: what has been trained, and nothing else."""
        return self.base.export(filepath, *args, **kwargs)

    def save_resumable(self, path) -> None:
        """Write all that the next update depends on: a secret file.

        Beside weights and counts it holds what no other file does: noise that
        was released and is going to be taken off again (a tree's), and sums
        that wait for their noise. Who reads it can undo the privacy of the
        training. Keep it where the data are kept, and delete it.

        Args:
            path: string or path of the file, which ends in ".secret.npz".

        Raises:
            ValueError: if the model is not compiled and built, or the path
                ends otherwise.
        """
        resumable.save(self, path)

    def load_resumable(self, path) -> None:
        """Go on where `save_resumable` left off.

        The model must be compiled and have the same weights and settings.

        Args:
            path: that of `save_resumable`.

        Raises:
            ValueError: if the file is of another model, or is none.
        """
        resumable.load(self, path)

    def _check_left(self):
        self.memory.check_not_put_back()
        left = self.updates_left()
        if left < self.updates_per_execution():
            raise RuntimeError(
                f"`fit` must stay within the {self.plan.steps} updates of the "
                "plan: one more would spend more privacy than was planned. "
                f"Received: a model with {left} updates left. Stop here, or "
                "begin again with another Plan."
            )

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            "base": serialize(self.base),
            "plan": serialize(self.plan),
            "l2_norm_clip": serialize(self._given_clipping),
            "mechanism": (
                serialize(self._given_mechanism)
                if self._chose_mechanism
                else "gaussian"
            ),
            "method": self.method,
            "augmentation": serialize(self.augmentation),
            "microbatch_size": self.microbatch_size,
            "averaging": serialize(self.averaging),
            "seed": self.noise.seed,
            "counts": self.memory.counts(),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config, restore = dict(config), keras.saving.deserialize_keras_object
        counts = config.pop("counts", {})
        for name, value in config.items():
            if isinstance(value, dict):
                config[name] = restore(value, custom_objects)
        model = cls(**config)
        model.memory.take_counts(counts)
        return model
