"""Layer-wise batch-entropy regularisation: no layer may lose the signal."""

import keras
from keras import ops

from tfdeep.checks import check_choice, check_number
from tfdeep.training.entropy_layers import EntropyLayers, Layers
from tfdeep.training.entropy_metric import EntropyMeans
from tfdeep.training.reporters import check_gradients
from tfdeep.training.wrapper import TrainingWrapper
from tfdeep.untracked import Untracked


def entropy_target(alpha, alpha_min: float):
    """max(|alpha|, alpha_min).

    Below alpha_min alpha gets no gradient, where both are equal half of it:
    as in the authors' code, and on every backend.
    """
    size = _absolute(alpha)
    return (size + alpha_min + _absolute(size - alpha_min)) / 2


def _absolute(x):
    """|x| with the gradient 0 at 0, where JAX has 1 for `ops.abs`."""
    return x * ops.sign(x)


def entropy_factor(entropies, alpha, alpha_min: float, beta: float):
    """1 + beta mean_l (H_l - max(|alpha_l|, alpha_min))^2."""
    gap = entropies - entropy_target(alpha, alpha_min)
    return 1 + beta * ops.mean(ops.square(gap))


@keras.saving.register_keras_serializable(package="tfdeep")
class BatchEntropyRegularizer(TrainingWrapper):
    """Trains a deep model whose layers all keep telling a batch apart.

    Use it where a net without skip connections or normalization does not
    learn because the signal dies on its way: a layer whose batch entropy is
    0 returns the same for every sample. The loss becomes

        L = task (1 + beta mean_l (H_l - max(|alpha_l|, alpha_min))^2)

    over the hidden layers l, with H_l their batch entropy and alpha_l
    trainable, by the same optimizer and without weight decay. As the factor
    multiplies the loss of the task, the regulariser fades with it. Penalties
    on weights and activities are added outside the product.

    It is compiled and fitted as the model would be; one forward pass gives
    outputs and entropies. `fit` logs `task_loss`, `batch_entropy` (the mean
    over layers) and, once an epoch, `batch_entropy/LAYER`, which go into the
    history and TensorBoard; the progress bar shows the mean. Validation,
    prediction and saving for deployment are those of `.base`, the model as
    it was given. `beta=0` is the plain model, exactly.

    Under `tf.distribute` each replica takes the entropies over its own part
    of the batch; under `keras.distribution` they are those of the whole
    batch. In a stream of batches a left-over of a single sample is trained
    without the regulariser; a first batch of one is an error.

    Reference:
        Peer, Keulen, Stabinger, Piater, Rodriguez-Sanchez, "Improving the
        Trainability of Deep Neural Networks through Layerwise Batch-Entropy
        Regularization", 2022. No deviation.

    Args:
        model: a `keras.Model`: Functional, Sequential, a subclass of
            `keras.Model` that uses Keras layers and `keras.ops`, or any
            that holds `tfdeep.layers.BatchEntropy` layers.
        layers: `"hidden"`, a list of names or paths (`"block/dense"`), or a
            function of a layer that returns a boolean. `"hidden"` is every
            activation and block but the output; where the model holds
            `BatchEntropy` layers it is those.
        alpha: float, the entropy to start from as the aim.
        alpha_min: float of at least 0, the smallest aim.
        beta: float of at least 0, the strength. The paper has 1e-4 to 0.1.
        report: "mean" or "layers", what the progress bar shows at the end of
            an epoch: the mean alone, or a figure for each layer as well.
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
        TypeError: if `model` is no `keras.Model`.
        ValueError: if a layer is unknown or ambiguous, none is meant, an
            argument is out of range, or `fit` would make a batch of one.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> model = keras.Sequential([keras.Input((4,))])
        >>> for _ in range(3):
        ...     model.add(keras.layers.Dense(8, "relu"))
        >>> model.add(keras.layers.Dense(1))
        >>> wrapper = tfdeep.BatchEntropyRegularizer(model)
        >>> wrapper.compile("sgd", "mse")
        >>> x = np.random.default_rng(0).normal(size=(32, 4))
        >>> history = wrapper.fit(x, x[:, :1], verbose=0).history
        >>> len(wrapper.names), wrapper.base is model
        (3, True)
        >>> history["loss"] > history["task_loss"]
        True
    """

    def __init__(
        self,
        model: keras.Model,
        layers: Layers = "hidden",
        alpha: float = 2.0,
        alpha_min: float = 0.2,
        beta: float = 0.1,
        report: str = "mean",
        **kwargs,
    ):
        super().__init__(model, **kwargs)
        check_number("alpha", alpha, example=2.0)
        check_number("alpha_min", alpha_min, least=0, example=0.2)
        check_number("beta", beta, least=0)
        check_choice("report", report, ("mean", "layers"))
        self.alpha = float(alpha)
        self.alpha_min = float(alpha_min)
        self.beta = float(beta)
        self.report = report
        self._layers_wanted = Untracked(layers)
        self._regularized: EntropyLayers | None = None
        self._met_a_batch = False
        self.build_now()

    @property
    def names(self) -> list[str]:
        """The names of the regularised layers, in the model's order."""
        return list(self._regularized.names) if self._regularized else []

    def prepare(self, interior):
        layers = self._layers_wanted.value
        self._regularized = EntropyLayers(interior, layers)
        if self.wants_reports and keras.backend.backend() == "jax":
            check_gradients(interior.model)
        self.alphas = self.add_weight(
            shape=(len(self.names),),
            initializer=keras.initializers.Constant(self.alpha),
            name="alphas",
            autocast=False,
        )
        self.entropies = EntropyMeans(self.names, name="batch_entropy")

    def training_loss(self, loss, tapped, y, sample_weight):
        size = ops.shape(keras.tree.flatten(tapped.outputs)[0])[0]
        if self._met_a_batch and isinstance(size, int) and size < 2:
            return loss, [], ops.zeros(0)  # A left-over, on JAX.
        entropies = self._regularized.entropies(tapped)
        self._met_a_batch = True
        self.entropies.update_state(entropies, size > 1)
        entropies = ops.cast(entropies, loss.dtype)
        alphas = ops.cast(self.alphas.value, loss.dtype)
        factor = entropy_factor(entropies, alphas, self.alpha_min, self.beta)
        if not isinstance(size, int):  # A left-over of one sample.
            factor = ops.where(size < 2, ops.ones_like(factor), factor)
        return loss * factor, self.names, entropies

    @property
    def paths(self):
        return list(self._regularized.paths) if self._regularized else []

    @property
    def wants_reports(self):
        return self._regularized is not None and self._regularized.reported

    def trackers(self):
        return [self.entropies]

    def undecayed(self):
        return [self.alphas] if self.names else []

    def epoch_logs(self):
        return {
            f"batch_entropy/{name}": value
            for name, value in self.entropies.by_layer().items()
        }

    def unprinted(self):
        return list(self.epoch_logs()) if self.report == "mean" else []

    def check_batches(self, sizes):
        if 1 in sizes:
            raise ValueError(
                "Batches must have two samples: an entropy over the batch "
                "needs them. Received: arrays that make a batch of 1. Change "
                "`batch_size`, or leave out the sample that remains."
            )

    def check_first_batch(self):
        if not float(self.entropies.count.numpy()):
            raise ValueError(
                "Batches must have two samples on each device: an entropy "
                "over the batch needs them. Received: a first batch of 1, or "
                "of 1 on each device. Make larger batches."
            )

    def get_config(self):
        layers = self._layers_wanted.value
        plain = layers == "hidden" or not self.names
        return {
            **super().get_config(),
            "layers": layers if plain else self.names,
            "alpha": self.alpha,
            "alpha_min": self.alpha_min,
            "beta": self.beta,
            "report": self.report,
        }
