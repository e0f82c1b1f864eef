"""TF Privacy's optimizer classes, made of Keras 3's.

TF Privacy makes its classes by functions of an optimizer class. They take
Keras 3's as they are, but for a name that is read; what they return runs TF
Privacy's code, and is mixed here with what makes it safe and lets it be saved.
"""

from typing import Any

import keras
import tensorflow as tf

from tfdeep.privacy.tf_privacy.fresh import fresh
from tfdeep.privacy.tf_privacy.guarded import Guarded, check_dp, check_steps
from tfdeep.privacy.tf_privacy.importing import submodule
from tfdeep.privacy.tf_privacy.queries import query_class
from tfdeep.privacy.tf_privacy.stateful import Stateful


def make_keras_generic_optimizer_class(cls: type) -> type:
    """Make a Keras 3 optimizer class private, for any `DPQuery`.

    Args:
        cls: a class of Keras optimizers, such as `keras.optimizers.AdamW`.

    Returns:
        A class with TF Privacy's arguments: `dp_sum_query`,
        `num_microbatches`, `gradient_accumulation_steps`, and those of `cls`.
    """
    module = submodule("optimizers.dp_optimizer_keras")
    theirs: Any = module.make_keras_generic_optimizer_class(_named(cls))

    class Generic(Stateful, theirs):
        keras_class = cls
        tf_privacy_class = theirs

        def __init__(
            self,
            dp_sum_query,
            num_microbatches=None,
            gradient_accumulation_steps=1,
            *args,
            **kwargs,
        ):
            steps = check_steps(gradient_accumulation_steps)
            super().__init__(
                fresh(dp_sum_query), num_microbatches, steps, *args, **kwargs
            )
            # Keras 3 accumulates by itself, for None or from 2.
            self.gradient_accumulation_steps = steps if steps > 1 else None
            self._begin({"dp_sum_query": dp_sum_query}, num_microbatches)

    return _finished(Generic, f"GenericDP{cls.__name__}Optimizer")


def make_gaussian_query_optimizer_class(cls: Any) -> type:
    """Give a generic private class the noise of DP-SGD.

    Args:
        cls: what `make_keras_generic_optimizer_class` returned.

    Returns:
        A class with TF Privacy's arguments: `l2_norm_clip`,
        `noise_multiplier`, `num_microbatches`, `gradient_accumulation_steps`,
        and those of the Keras class.
    """

    class Gaussian(cls):
        def __init__(
            self,
            l2_norm_clip,
            noise_multiplier,
            num_microbatches=None,
            gradient_accumulation_steps=1,
            *args,
            **kwargs,
        ):
            check_dp(l2_norm_clip, noise_multiplier)
            query = query_class("GaussianSumQuery")(
                l2_norm_clip, l2_norm_clip * noise_multiplier
            )
            super().__init__(
                query,
                num_microbatches,
                gradient_accumulation_steps,
                *args,
                **kwargs,
            )
            arguments = {
                "l2_norm_clip": l2_norm_clip,
                "noise_multiplier": noise_multiplier,
            }
            self._begin(arguments, num_microbatches)

    return _finished(Gaussian, f"DPKeras{cls.keras_class.__name__}Optimizer")


def make_dpftrl_tree_aggregation_optimizer_class(cls: Any) -> type:
    """Give a generic private class the correlated noise of DP-FTRL.

    Args:
        cls: what `make_keras_generic_optimizer_class` returned.

    Returns:
        A class with TF Privacy's arguments; its own are `var_list_or_model`,
        `restart_period`, `restart_warmup` and `noise_seed`.
    """

    class Tree(cls):
        def __init__(
            self,
            l2_norm_clip,
            noise_multiplier,
            var_list_or_model,
            num_microbatches=None,
            gradient_accumulation_steps=1,
            restart_period=None,
            restart_warmup=None,
            noise_seed=None,
            *args,
            **kwargs,
        ):
            check_dp(l2_norm_clip, noise_multiplier)
            shapes = _shapes(var_list_or_model)
            query = _tree_query(
                l2_norm_clip, noise_multiplier, shapes, noise_seed
            )
            query = _restarted(query, restart_period, restart_warmup)
            super().__init__(
                query,
                num_microbatches,
                gradient_accumulation_steps,
                *args,
                **kwargs,
            )
            arguments = {
                "l2_norm_clip": l2_norm_clip,
                "noise_multiplier": noise_multiplier,
                "var_list_or_model": shapes,
                "restart_period": restart_period,
                "restart_warmup": restart_warmup,
                "noise_seed": noise_seed,
            }
            self._begin(arguments, num_microbatches)

    name = cls.keras_class.__name__
    name = "" if name == "SGD" else name
    return _finished(Tree, f"DPFTRLTreeAggregation{name}Optimizer")


def _shapes(var_list_or_model) -> list[list[int]]:
    if isinstance(var_list_or_model, keras.layers.Layer):
        if not var_list_or_model.built:
            raise ValueError(
                "`var_list_or_model` must be built, as the noise needs the "
                "shapes of its weights. Received: a model that is not. Give "
                "it an Input, or call it once."
            )
        var_list_or_model = var_list_or_model.trainable_variables
    return [
        list(each) if isinstance(each, (list, tuple)) else list(each.shape)
        for each in var_list_or_model
    ]


def _tree_query(l2_norm_clip, noise_multiplier, shapes, noise_seed):
    return query_class("TreeResidualSumQuery").build_l2_gaussian_query(
        l2_norm_clip,
        noise_multiplier,
        [tf.TensorSpec(shape) for shape in shapes],
        noise_seed,
    )


def _restarted(query, period, warmup):
    if period is None and warmup is None:
        return query
    if period is None:
        raise ValueError(
            "`restart_warmup` must come with `restart_period`: it is the "
            "time of the first restart alone. Received: "
            f"restart_warmup={warmup!r} without it"
        )
    indicator = query_class("PeriodicRoundRestartIndicator")(period, warmup)
    return query_class("RestartQuery")(query, indicator)


def make_vectorized_keras_optimizer_class(cls: type) -> type:
    """Make a Keras 3 optimizer class private, in TF Privacy's other form.

    Args:
        cls: a class of Keras optimizers, such as `keras.optimizers.AdamW`.

    Returns:
        A class with TF Privacy's arguments: `l2_norm_clip`,
        `noise_multiplier`, `num_microbatches`,
        `unconnected_gradients_to_zero`, and those of `cls`.
    """
    module = submodule("optimizers.dp_optimizer_keras_vectorized")
    theirs: Any = module.make_vectorized_keras_optimizer_class(_named(cls))

    class Vectorized(Guarded, theirs):
        keras_class = cls
        tf_privacy_class = theirs

        def __init__(
            self,
            l2_norm_clip,
            noise_multiplier,
            num_microbatches=None,
            unconnected_gradients_to_zero=False,
            *args,
            **kwargs,
        ):
            check_dp(l2_norm_clip, noise_multiplier)
            # Its own noise can be predicted; it is added after it, fresh.
            super().__init__(
                l2_norm_clip,
                0.0,
                num_microbatches,
                unconnected_gradients_to_zero,
                *args,
                **kwargs,
            )
            self.query = query_class("GaussianSumQuery")(
                l2_norm_clip, l2_norm_clip * noise_multiplier
            )
            self._fresh = fresh(self.query)
            arguments = {
                "l2_norm_clip": l2_norm_clip,
                "noise_multiplier": noise_multiplier,
                "unconnected_gradients_to_zero": unconnected_gradients_to_zero,
            }
            self._begin(arguments, num_microbatches)

        def _make_twin(self):
            return theirs(l2_norm_clip=self.l2_norm_clip, noise_multiplier=0.0)

        def _with_noise(self, gradients, size):
            state = self._fresh.initial_global_state()
            zeros = [tf.zeros_like(each) for each in gradients]
            noise, _, _ = self._fresh.get_noised_result(zeros, state)
            return [
                grad + value / tf.cast(size, value.dtype)
                for grad, value in zip(gradients, noise, strict=True)
            ]

    return _finished(Vectorized, f"VectorizedDPKeras{cls.__name__}Optimizer")


def make_keras_optimizer_class(cls: type) -> type:
    """Make a Keras 3 optimizer class private with the noise of DP-SGD.

    Args:
        cls: a class of Keras optimizers, such as `keras.optimizers.AdamW`.
    """
    return make_gaussian_query_optimizer_class(
        make_keras_generic_optimizer_class(cls)
    )


def _named(cls: type) -> type:
    """The class with the `_name` that TF Privacy reads."""
    if not (isinstance(cls, type) and issubclass(cls, keras.Optimizer)):
        raise TypeError(
            "`cls` must be a class of Keras optimizers. Received: "
            f"cls={cls!r}. Pass for example keras.optimizers.AdamW."
        )
    return type(cls.__name__, (cls,), {"_name": property(lambda s: s.name)})


def _finished(cls: type, name: str) -> type:
    cls.__name__ = cls.__qualname__ = name
    cls.__module__ = "tfdeep.privacy.tf_privacy"
    return keras.saving.register_keras_serializable("tfdeep", name)(cls)
