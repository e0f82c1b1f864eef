"""Evaluation of a private model: its weights, and their average beside them."""

import contextlib
from collections.abc import Iterator

import keras

from tfdeep.privacy.memory import as_array
from tfdeep.privacy.private_compile import PrivateCompile


class PrivateEvaluate(PrivateCompile):
    """`evaluate` of a `PrivateModel`."""

    def get_metrics_result(self):
        results = super().get_metrics_result()
        if self._tests:
            results.pop(self.clipped_fraction.name)
        return results

    @contextlib.contextmanager
    def _testing(self) -> Iterator[None]:
        self._tests = True
        try:
            yield
        finally:
            self._tests = False

    def test_on_batch(self, *args, **kwargs):
        with self._testing():
            return super().test_on_batch(*args, **kwargs)

    def evaluate(self, *args, **kwargs):
        with self._testing():
            results = super().evaluate(*args, **kwargs)
        if self.averages and isinstance(results, dict):
            with self._testing(), self._averaged():
                averaged = super().evaluate(*args, **kwargs)
            for name, value in averaged.items():
                results[f"averaged_{name}"] = value
        return results

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Use the averages in place of the weights for a while."""
        variables = self.base.trainable_variables
        kept = [as_array(v) for v in variables]
        for variable, average in zip(variables, self.averages, strict=True):
            variable.assign(as_array(average))
        try:
            yield
        finally:
            for variable, value in zip(variables, kept, strict=True):
                variable.assign(value)

    def averaged_model(self) -> keras.Model:
        """A plain model of the same architecture, with averaged weights."""
        if not self.averages:
            raise ValueError(
                "The model must keep averages, from the first update on. "
                "Received: a model without them. Pass "
                "`averaging=tfdeep.privacy.Averaging()`."
            )
        copy = keras.models.clone_model(self.base)
        with self._averaged():
            copy.set_weights(self.base.get_weights())
        return copy
