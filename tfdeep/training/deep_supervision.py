"""Deeply-supervised nets: companion objectives on hidden layers."""

import keras
from keras import ops, tree

from tfdeep.checks import check_number
from tfdeep.graph.select import named
from tfdeep.graph.weight_decay import copy_exclusions
from tfdeep.training.companions import Companion, companions
from tfdeep.training.head import Head
from tfdeep.training.wrapper import TrainingWrapper
from tfdeep.untracked import Untracked


@keras.saving.register_keras_serializable(package="tfdeep")
class DeepSupervision(TrainingWrapper):
    """Trains hidden layers to tell the classes apart by themselves.

    Use it where data are few or a net is deep and plain: each head gives its
    layer an objective of its own, beside the one that arrives from above.
    The loss becomes

        L = task + sum_m alpha_m(t) [||w_m||^2 + l(y, head_m(x_m)) - gamma_m]_+

    over the heads m, with x_m the output of a hidden layer and w_m the
    weights of the head. All losses reach every layer below them.

    It is compiled and fitted as the model would be; the targets reach the
    heads by themselves. `fit` logs `task_loss` and, for every head, its loss
    as `head_loss/LAYER`, before gamma and alpha. Metrics are those of the
    model's output. Validation, prediction and saving for deployment are those
    of `.base`, the model as it was given: heads never run at inference.
    Heads of `alpha=0` make the plain model, exactly.

    Wrapped around a `BatchEntropyRegularizer` the heads' terms stay outside
    its product; within one they are part of it. Under `tf.distribute` each
    replica cuts off at gamma by its own part of the batch.

    Reference:
        Lee, Xie, Gallagher, Zhang, Tu, "Deeply-Supervised Nets", 2015.
        Deviations: heads pool their input, where the authors' code flattens
        it; they learn at the rate of the model, where it has a thousandth;
        the norm of the output's weights is left to its regularizer.

    Args:
        model: a `keras.Model`: Functional, Sequential, or a subclass that
            uses Keras layers and `keras.ops`.
        heads: a dictionary from a layer's name, or its path in nested models
            (`"block/conv"`), to a `Head`.
        **kwargs: `name` of the wrapper.

    Call arguments:
        inputs: what the model takes.
        training: boolean; in training the taps are returned beside the
            outputs, for `compute_loss`.

    Input shape:
        That of the model.

    Output shape:
        That of the model.

    Raises:
        TypeError: if `model` is no `keras.Model`, or a head no `Head`.
        ValueError: if a layer is unknown or ambiguous or makes the output,
            the model has several outputs and a head no `target`, or `fit`
            comes with labels outside the classes of the hinge: in arrays
            before the first step, in a stream before that of their batch.
            There TensorFlow may raise an `InvalidArgumentError` that says so.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> model = keras.Sequential([keras.Input((8, 8, 1))])
        >>> model.add(keras.layers.Conv2D(4, 3, name="low"))
        >>> model.add(keras.layers.ReLU())
        >>> model.add(keras.layers.GlobalAveragePooling2D())
        >>> model.add(keras.layers.Dense(3, "softmax"))
        >>> head = tfdeep.training.Head(alpha=0.3)
        >>> wrapper = tfdeep.training.DeepSupervision(model, {"low": head})
        >>> wrapper.compile("sgd", "sparse_categorical_crossentropy")
        >>> x = np.random.default_rng(0).normal(size=(6, 8, 8, 1))
        >>> history = wrapper.fit(x, np.arange(6) % 3, verbose=0).history
        >>> sorted(history)
        ['head_loss/low', 'loss', 'task_loss']
        >>> wrapper.drop_heads() is model
        True
    """

    stops_gradients = False

    def __init__(self, model: keras.Model, heads: dict[str, Head], **kwargs):
        super().__init__(model, **kwargs)
        _check_heads(heads)
        self._heads_wanted = Untracked(dict(heads))
        self._plan = Untracked([])
        self.build_now()

    @property
    def names(self) -> list[str]:
        """The paths of the supervised layers, in the model's order."""
        return [each.path for each in self._companions()]

    def prepare(self, interior):
        self._check_alone()
        plan = companions(interior, self._heads_wanted.value)
        self._plan = Untracked(plan)
        self.head_layers = [each.layer for each in plan]
        self.head_losses = [
            keras.metrics.Mean(f"head_loss/{each.path}") for each in plan
        ]
        self.alphas = self._vector("alphas", [p.head.alpha for p in plan])
        start = [each.head.factor(0, 1) for each in plan]
        self.factors = self._vector("factors", start)

    def _check_alone(self) -> None:
        """Heads of another wrapper would be cut off without notice."""
        same = [e for e in self.chain() if isinstance(e, DeepSupervision)]
        if len(same) > 1 and any(each.stops_gradients for each in same):
            kinds = " around ".join(type(e).__name__ for e in reversed(same))
            raise ValueError(
                "Heads must all be given to one RelayBackpropagation, which "
                "says what layers each loss reaches and knows its own heads "
                f"alone. Received: the wrappers {kinds}"
            )

    def _vector(self, name: str, values: list[float]):
        """A weight that no optimizer moves; changing it retraces nothing."""
        weight = self.add_weight(
            shape=(len(values),),
            initializer="zeros",
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )
        weight.assign(values)
        return weight

    def _companions(self) -> list[Companion]:
        return self._plan.value

    def training_loss(self, loss, tapped, y, sample_weight):
        terms = [
            each.objective(tapped.taps[each.path], y, sample_weight)
            for each in self._companions()
        ]
        return self.with_terms(loss, tapped, terms)

    def with_terms(self, loss, tapped, terms):
        """Add the heads' losses and objectives; as `training_loss` returns."""
        size = ops.shape(tree.flatten(tapped.outputs)[0])[0]
        alphas = self.weights_now()
        signals, values = [], []
        for index, (value, term) in enumerate(terms):
            self.head_losses[index].update_state(value, size)
            loss = loss + ops.cast(alphas[index] * term, loss.dtype)
            x = tapped.taps[self.names[index]]
            signals.append(ops.mean(ops.cast(x, "float32")))
            values.append(value)
        names = [*self.names, *(f"the head of {name}" for name in self.names)]
        return loss, names, ops.stack([*signals, *values])

    def weights_now(self):
        """alpha_m(t) of all heads, a tensor."""
        return self.alphas.value * self.factors.value

    @property
    def paths(self):
        return self.names

    def trackers(self):
        return list(self.head_losses) if self._companions() else []

    def begin_epoch(self, epoch, epochs):
        heads = [each.head for each in self._companions()]
        if any(head.schedule is not None for head in heads):
            self.factors.assign([h.factor(epoch, epochs) for h in heads])

    def target_checks(self):
        found = [each.targets() for each in self._companions()]
        return [each for each in found if each is not None]

    def current_alphas(self) -> dict[str, float]:
        """The weight of each head's loss now, its schedule included.

        A callback calls it by `self.model`; see `set_alphas`.
        """
        values = self.alphas.numpy() * self.factors.numpy()
        return dict(zip(self.names, values.tolist(), strict=True))

    def set_alphas(self, alphas: dict[str, float]) -> None:
        """Change weights of heads; during `fit`, from the next step on.

        A callback calls it by `self.model`, or by `self.model.base` where
        this wrapper is within another; never by a reference of its own. On
        JAX the weights are away while batches run, and it is reading
        `self.model` that brings them back: any other reference then finds no
        values, a `TypeError`. So it is with `current_alphas`.

        Args:
            alphas: new values by the name or path of the layer. A schedule
                goes on multiplying them.

        Raises:
            ValueError: if a layer has no head, or a value is out of range.

        Example:
            >>> import keras
            >>> class Silence(keras.callbacks.Callback):
            ...     def on_train_batch_end(self, batch, logs=None):
            ...         if batch == 99:
            ...             self.model.set_alphas({"low": 0.0})
        """
        values = self.alphas.numpy().tolist()
        for name, alpha in alphas.items():
            check_number("alpha", alpha, least=0)
            values[self._index(name)] = float(alpha)
        self.alphas.assign(values)

    def _index(self, name: str) -> int:
        (call,) = named(self.interior.calls, name) if self.interior else (None,)
        if call is None or call.path not in self.names:
            raise ValueError(
                f"A layer must have a head: {self.names} have one. Received: "
                f"{name!r}"
            )
        return self.names.index(call.path)

    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)
        rest = {k: v for k, v in kwargs.items() if k != "optimizer"}
        self._compiled_with = Untracked((args[1:], rest))

    def drop_heads(self) -> keras.Model:
        """Return `.base`, ready to go on training without the heads.

        It is compiled as this wrapper was, with the same losses and metrics,
        the learning rate as it is now, and an optimizer that starts without
        momenta.
        """
        if self.compiled:
            config = self.optimizer.get_config()
            optimizer = type(self.optimizer).from_config(config)
            copy_exclusions(self.optimizer, optimizer)
            args, kwargs = self._compiled_with.value
            self.base.compile(optimizer, *args, **kwargs)
        return self.base

    def get_config(self):
        heads = self._heads_wanted.value
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "heads": {name: serialize(head) for name, head in heads.items()},
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        heads = {
            name: keras.saving.deserialize_keras_object(head, custom_objects)
            for name, head in config["heads"].items()
        }
        return super().from_config({**config, "heads": heads}, custom_objects)


def _check_heads(heads: dict[str, Head]) -> None:
    if not isinstance(heads, dict) or not heads:
        raise TypeError(
            "`heads` must be a dictionary from names of layers to heads. "
            f"Received: heads={heads!r}. Pass for example "
            "{'conv_1': Head()}."
        )
    for name, head in heads.items():
        if not isinstance(head, Head):
            raise TypeError(
                f"The head of {name!r} must be a tfdeep.training.Head. "
                f"Received: {head!r}. Put a layer into one: Head(layer)."
            )
