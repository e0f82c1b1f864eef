"""What `compile` of a private model refuses, and takes from an optimizer."""

import inspect

import keras

from tfdeep import backend
from tfdeep.layers.per_variable import warn_of_optimizer
from tfdeep.privacy.per_example.purity import NotPrivateError
from tfdeep.privacy.private_step import PrivateStep

# What a subclass may not define: by these a batch comes to its update.
OURS = ("train_step", "update", "make_train_function", "call")


def compiles_well() -> str | bool:
    """What `jit_compile="auto"` stands for.

    The compiled step of TensorFlow takes many times as long on a CPU, whose
    convolutions XLA does not hand to a library.
    """
    if keras.backend.backend() == "tensorflow":
        return "auto" if backend.has_accelerator() else False
    return "auto"


class PrivateCompile(PrivateStep):
    """`compile` of a `PrivateModel`."""

    def compile(self, *args, **kwargs):
        bound = inspect.signature(super().compile).bind(*args, **kwargs)
        self._check_own()
        if bound.arguments.get("jit_compile", "auto") == "auto":
            bound.arguments["jit_compile"] = compiles_well()
        if self.plan is not None and self.plan.sampling == "poisson":
            # Padding has weight 0: metrics that know weights ignore it.
            plain = bound.arguments.pop("metrics", None)
            weighted = bound.arguments.get("weighted_metrics")
            if weighted is None:
                bound.arguments["weighted_metrics"] = plain
            elif plain is not None:
                bound.arguments["metrics"] = plain
        super().compile(*bound.args, **bound.kwargs)
        self.compiled = False  # Until nothing has been refused.
        self._loss_is_built = False
        self._check_optimizer(self.optimizer)
        self._check_accumulation()
        if self.built:
            self._begin()
        self.compiled = True
        warn_of_optimizer(self.base, self.optimizer)

    def overridden(self, names: tuple[str, ...]) -> list[str]:
        """Which of these methods a subclass of `PrivateModel` defines."""
        raise NotImplementedError

    def _check_own(self):
        """Raise if a subclass trains past the clip, or past the base."""
        for name in self.overridden(OURS):
            raise NotPrivateError(
                f"A subclass of PrivateModel must not define `{name}`, which "
                "could train past the clip and the noise. Received: "
                f"{type(self).__name__}, with a `{name}` of its own. Override "
                "`compute_loss`, or use callbacks."
            )

    def _check_optimizer(self, optimizer):
        """Raise if clip and noise of an optimizer cannot be taken."""
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            raise NotPrivateError(
                "The optimizer must have no loss scale: a clip needs "
                "gradients as they are. Received: one with it. Use "
                "mixed_bfloat16, which needs no scale."
            )
        settings = getattr(optimizer, "privacy_settings", None)
        if settings is None:
            return
        check = getattr(optimizer, "check_batch", None)
        if check is not None:
            check(None if self.plan is None else self.plan.batch_size)
        theirs = settings()["mechanism"].get_config()
        given = self._given_mechanism.get_config()
        if self._chose_mechanism and given != theirs:
            raise NotPrivateError(
                "`mechanism` must be left out with "
                f"{type(optimizer).__name__}, which has a clip and noise of "
                "its own. Received: others for PrivateModel, and only one of "
                "them can hold"
            )

    def _check_accumulation(self):
        """Raise if a clip that adapts would see one batch of several."""
        steps = self.accumulation()
        if self.mechanism.adapts and steps > 1:
            raise ValueError(
                "`gradient_accumulation_steps` must be None with a clip that "
                "adapts to the examples of an update: it would see those of "
                "the last batch alone. Received: "
                f"gradient_accumulation_steps={steps}. Use `microbatch_size` "
                "of PrivateModel in its place."
            )

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)
