"""Published settings of private training, as one object."""

from dataclasses import dataclass
from typing import Any

import keras

from tfdeep.checks import check_choice
from tfdeep.privacy.averaging import Averaging
from tfdeep.privacy.clipping import FlatClipping
from tfdeep.privacy.plan import Plan
from tfdeep.privacy.private_model import PrivateModel
from tfdeep.privacy.views import Views

# De et al., CIFAR-10 without extra data: noise multiplier and updates.
DE2022 = {1: (10.0, 875), 2: (6.0, 1125), 3: (5.0, 1593), 4: (4.0, 1687)}
DE2022[8] = (3.0, 2468)
DE2022_NET = {
    "depth": 40,
    "width": 4,
    "norm": "group",
    "norm_groups": 16,
    "activation_first": True,
    "weight_standardization": True,
    "weight_decay": 0.0,
    "classifier_activation": None,
}


@dataclass(frozen=True)
class Settings:
    """What `privacy.recipe` returns: a plan and all that goes with it.

    Args:
        plan: the `Plan`.
        network: arguments of `tfdeep.models.WideResNet`; it ends in logits.
        learning_rate: float, constant, of SGD without momentum.
        l2_norm_clip: float; gradients are clipped and divided by it.
        views: integer, augmented views of each example.
        shift: float, the largest shift of a view, as a part of the image.
        averaging: float, the limit of the decay of averaged weights.
    """

    plan: Plan
    network: dict
    learning_rate: float
    l2_norm_clip: float
    views: int
    shift: float
    averaging: float

    def augmentation(self) -> Views:
        """Random shifts, mirrored at the border, and flips."""
        shift = keras.layers.RandomTranslation(
            self.shift, self.shift, "reflect", "nearest"
        )
        flip = keras.layers.RandomFlip("horizontal")
        return Views(keras.Sequential([shift, flip]), self.views)

    def optimizer(self) -> keras.optimizers.Optimizer:
        """Plain SGD."""
        return keras.optimizers.SGD(self.learning_rate)

    def wrap(
        self, base: keras.Model, microbatch_size: int | None = None
    ) -> PrivateModel:
        """The model to be trained privately by these settings."""
        return PrivateModel(
            base,
            self.plan,
            FlatClipping(self.l2_norm_clip, rescaled=True),
            augmentation=self.augmentation(),
            averaging=Averaging(self.averaging),
            microbatch_size=microbatch_size,
        )


def recipe(
    name: str,
    epsilon: float,
    num_examples: int = 50_000,
    delta: float = 1e-5,
) -> Settings:
    """The published settings for a budget.

    `"de2022"` trains a wide residual net on CIFAR-10 without other data: a
    batch of 4,096, group normalization and weight standardization, 16 views
    of each example, rescaled clipping at norm 1, SGD of rate 2 without
    momentum, averaged weights.

    Reference:
        De, Berrada, Hayes, Smith, Balle, "Unlocking High-Accuracy
        Differentially Private Image Classification through Scale", 2022.
        Noise and number of updates are theirs for an epsilon of 1, 2, 3, 4
        and 8, accounted by Renyi divergences as there; with other data, delta
        or epsilon the updates are those of the next smaller epsilon, and the
        noise is computed. Deviations: samples are Poisson samples, which
        their accountant assumes and their loader does not draw; shifts are
        mirrored with the border pixel; the rate is that of their
        configuration for epsilon 1.

    Args:
        name: `"de2022"`.
        epsilon: float above 0.
        num_examples: integer, the number of training examples.
        delta: float in (0, 1).

    Returns:
        A `Settings` with `plan`, `network`, and `wrap(model)`.

    Raises:
        ValueError: for an unknown name, or a budget that `Plan` refuses.

    Example:
        >>> from tfdeep import privacy
        >>> settings = privacy.recipe("de2022", epsilon=8)
        >>> settings.plan.noise_multiplier, settings.plan.steps
        (3.0, 2468)
        >>> round(settings.plan.epsilon, 2)
        7.05
    """
    check_choice("name", name, ("de2022",))
    budget: dict[str, Any] = {"epsilon": epsilon}
    known = [each for each in DE2022 if each <= epsilon] or [1]
    noise, steps = DE2022[known[-1]]
    if (epsilon, num_examples, delta) == (known[-1], 50_000, 1e-5):
        budget = {"noise_multiplier": noise}
    plan = Plan(num_examples, 4096, steps, delta, **budget, accountant="rdp")
    return Settings(plan, dict(DE2022_NET), 2.0, 1.0, 16, 4 / 32, 0.999)
