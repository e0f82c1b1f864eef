"""What the wrappers of this package share.

A wrapper is a model around a model. In training it runs the model once, in a
view that also returns the outputs of some inner layers, and adds what it
wants to the loss. At inference it is the model inside.
"""

import contextlib
from collections.abc import Iterator

import keras
from keras import ops, tree

from tfdeep import backend
from tfdeep.graph.trace import input_shape_of, symbols
from tfdeep.graph.weight_decay import exclude_from_weight_decay
from tfdeep.inside import own_methods
from tfdeep.layers.per_variable import warn_of_optimizer
from tfdeep.training.stages import Division
from tfdeep.training.streams import Check
from tfdeep.training.taps import Interior, Tapped
from tfdeep.training.watch import check_fit


def check_trained_by_keras(model: keras.Model, wrapper: str) -> None:
    """Raise if a model trains in a way of its own, which is passed by."""
    own = own_methods(model, "train_step", "compute_loss")
    if own:
        raise ValueError(
            f"The model {model.name!r} ({type(model).__name__}) has a "
            f"`{own[0]}` of its own, which {wrapper} would ignore: it trains "
            "by the compiled loss and a term of its own. Remove it, or "
            "override it in a subclass of the wrapper."
        )


class TrainingWrapper(keras.Model):
    """Base of the wrappers: trains `.base` with a changed loss.

    Wrappers stack: the model may be a wrapper itself, whose term then counts
    first. Validation, prediction and export are those of the plain model.

    In training a call returns `Tapped(outputs, taps, reports)`, what
    `compute_loss` needs; `fit` knows how to read it.

    Args:
        model: a `keras.Model`.
        **kwargs: `name` of the wrapper.
    """

    wraps_base = True
    changes_loss = True

    def __init__(self, model: keras.Model, **kwargs):
        if not isinstance(model, keras.Model):
            raise TypeError(
                f"`model` must be a keras.Model, which {type(self).__name__} "
                f"wraps. Received: model={type(model).__name__}"
            )
        if not isinstance(model, TrainingWrapper):
            check_trained_by_keras(model, type(self).__name__)
        # The model inside casts its inputs as it is used to.
        super().__init__(autocast=False, dtype=model.dtype_policy, **kwargs)
        self.base = model
        self.supports_masking = True
        self.interior: Interior | None = None
        self._labels: tuple[str, ...] = ()
        self._shows_training = True
        self._adds_losses = True
        self.task_loss = keras.metrics.Mean("task_loss")

    # What a wrapper defines. Methods, where they return layers or weights:
    # Keras saves what it finds in attributes.

    def prepare(self, interior: Interior) -> None:
        """Choose taps, create weights and trackers; the model is built."""
        raise NotImplementedError

    def training_loss(self, loss, tapped: Tapped, y, sample_weight):
        """Return the changed loss, the names of layers, and their signals.

        The signals are a vector, one scalar per layer; the first in the
        order of the forward pass that is not finite tells where a NaN began.
        """
        raise NotImplementedError

    @property
    def paths(self) -> list[str]:
        """The paths of the layers whose output is wanted."""
        return []

    def division(self) -> Division | None:
        """Where gradients stop in the model, if they do."""
        return None

    @property
    def wants_reports(self) -> bool:
        """Whether the entropies of `BatchEntropy` layers are wanted."""
        return False

    def trackers(self) -> list:
        """The metrics of the wrapper's own terms."""
        return []

    def undecayed(self) -> list:
        """The weights that no optimizer may let decay."""
        return []

    def epoch_logs(self) -> dict[str, float]:
        """What is logged once an epoch, beside the metrics."""
        return {}

    def unprinted(self) -> list[str]:
        """Names of logs that the progress bar leaves out."""
        return []

    def check_batches(self, sizes: set[int]) -> None:
        """Raise if `fit` would make batches of a size that cannot work."""

    def check_first_batch(self) -> None:
        """Raise if the first batch cannot work, be it of a stream."""

    def target_checks(self) -> list[Check]:
        """Functions that raise for targets that cannot be learned."""
        return []

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set what depends on the epoch, counted from 0; assign weights."""

    # What all share.

    def chain(self) -> list["TrainingWrapper"]:
        """This wrapper and those it wraps, the innermost first."""
        inner = self.base
        return [
            *(inner.chain() if isinstance(inner, TrainingWrapper) else []),
            self,
        ]

    def plain(self) -> keras.Model:
        """The model inside all wrappers."""
        return self.chain()[0].base

    @property
    def input_shape(self):
        """The input shape of the model inside, if it has one."""
        return self.base.input_shape

    @property
    def output_shape(self):
        """The output shape of the model inside, if it has one."""
        return self.base.output_shape

    @property
    def output_names(self) -> list[str]:
        """The names of outputs, if the model inside has any: Keras asks."""
        return self.base.output_names

    def build_now(self) -> None:
        """Build at once if the model is: its errors come early."""
        shape = input_shape_of(self.plain()) if self.base.built else None
        if shape is not None:
            self.build(shape)

    def build(self, input_shape):
        if self.interior is not None:
            return
        if not self.base.built:
            self.base(symbols(input_shape))
        self.first_not_finite = self.add_weight(
            name="first_not_finite",
            initializer=keras.initializers.Constant(-1.0),
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
        )
        interior = Interior(self.plain(), input_shape)
        self.prepare(interior)
        wanted = {path for each in self.chain() for path in each.paths}
        if wanted:
            wanted.update(interior.weighty)
        divisions = [d for each in self.chain() if (d := each.division())]
        if divisions:
            interior.divide(divisions[0], wanted)
        elif wanted:
            interior.open(interior.at(wanted))
        self.interior = interior

    def call(self, inputs, training=None):
        if not training:
            return self.base(inputs)
        reports = any(each.wants_reports for each in self.chain())
        return self.interior.run(inputs, reports)

    def compute_mask(self, inputs, mask=None):
        return None  # Outputs come with the masks that the model gave them.

    def compute_output_shape(self, input_shape):
        return self.base.compute_output_shape(input_shape)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        if not isinstance(y_pred, Tapped):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        self._spare_weights()
        loss, added = self._task_and_added(x, y, y_pred, sample_weight)
        task = loss
        size = ops.shape(tree.flatten(y_pred.outputs)[0])[0]
        self.task_loss.update_state(task * backend.replica_count(), size)
        labels, signals = [], []
        for wrapper in self.chain():
            loss, names, values = wrapper.training_loss(
                loss, y_pred, y, sample_weight
            )
            labels.extend(names)
            signals.append(ops.cast(values, "float32"))
        self._watch(y_pred, task, labels, signals)
        return ops.sum(ops.stack([loss, *added])) if added else loss

    def _task_and_added(self, x, y, tapped, sample_weight):
        """The loss of the task, and what layers add to it.

        Where nothing else is compiled, what layers add *is* the task.
        """
        added = [ops.sum(loss) for loss in self.losses]
        if self.loss is None and added:
            return ops.cast(sum(added), "float32"), []
        self._adds_losses = False
        try:
            task = super().compute_loss(x, y, tapped.outputs, sample_weight)
        finally:
            self._adds_losses = True
        return task, [ops.cast(loss, task.dtype) for loss in added]

    @property
    def losses(self):
        """What layers add to the loss, as of any Keras layer."""
        return super().losses if self._adds_losses else []

    def _watch(self, tapped, task, labels, signals):
        """Add what no wrapper has told of; sort by the forward pass."""
        others = {p: t for p, t in tapped.taps.items() if p not in labels}
        means = [_mean(tensor) for tensor in others.values()]
        means.append(sum(map(_mean, tree.flatten(tapped.outputs))))
        means.append(ops.cast(task, "float32"))
        labels = [*labels, *others, "the output", "the loss"]
        signals = ops.concatenate([*signals, ops.stack(means)])
        order = self.interior.in_order(labels)
        self._labels = tuple(labels[index] for index in order)
        self._note(ops.take(signals, order))

    def _note(self, signals) -> None:
        """Remember which signal was the first not to be finite."""
        bad = ops.logical_not(ops.isfinite(ops.stop_gradient(signals)))
        first = ops.cast(ops.argmax(ops.cast(bad, "int32")), "float32")
        old = self.first_not_finite.value
        new = ops.logical_and(old < 0, ops.any(bad))
        self.first_not_finite.assign(ops.where(new, first, old))

    def forget_nan(self) -> None:
        """Look out anew for what is not finite."""
        if self.interior is not None:
            self.first_not_finite.assign(-1.0)

    def origin_of_nan(self) -> str | None:
        """The first layer that was not finite in training, if any.

        Or "the output" or "the loss", where no layer before was it.
        """
        index = int(self.first_not_finite.numpy())
        return None if index < 0 else self._labels[index]

    @property
    def metrics(self):
        inner = [t for each in self.chain()[:-1] for t in each.trackers()]
        return [*super().metrics, *inner]

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        training = isinstance(y_pred, Tapped)
        outputs = y_pred.outputs if training else y_pred
        with self._reporting(training):
            return super().compute_metrics(x, y, outputs, sample_weight)

    def get_metrics_result(self):
        results = super().get_metrics_result()
        if not self._shows_training:
            ours = [each.trackers() for each in self.chain()]
            for metric in [self.task_loss, *sum(ours, [])]:
                results.pop(metric.name)
        return results

    @contextlib.contextmanager
    def _reporting(self, training: bool) -> Iterator[None]:
        before = self._shows_training
        self._shows_training = training
        try:
            yield
        finally:
            self._shows_training = before

    def evaluate(self, *args, **kwargs):
        with self._reporting(False):
            return super().evaluate(*args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        with self._reporting(False):
            return super().test_on_batch(*args, **kwargs)

    def fit(self, *args, **kwargs):
        arguments = check_fit(super().fit, self, args, kwargs)
        return super().fit(*arguments.args, **arguments.kwargs)

    def _spare_weights(self):
        """Just before a step: weights exist, and exclusions are final."""
        if self.optimizer is not None:
            spared = [v for each in self.chain() for v in each.undecayed()]
            exclude_from_weight_decay(self.optimizer, spared)

    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)
        warn_of_optimizer(self, self.optimizer)

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def get_config(self):
        return {
            "model": keras.saving.serialize_keras_object(self.base),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        config["model"] = keras.saving.deserialize_keras_object(
            config["model"], custom_objects
        )
        return cls(**config)


def _mean(tensor):
    return ops.mean(ops.cast(ops.stop_gradient(tensor), "float32"))
