"""A Keras model with a training step of its own, written once.

Keras hands the variables to the step on JAX and lets TensorFlow's assign them.
Here `update` assigns on both: on JAX within a scope that collects what was
assigned.
"""

import keras


class OwnStep(keras.Model):
    """Base of models that define `update` in place of `train_step`."""

    def update(self, data) -> dict:
        """Train on a batch: assign variables, return the logs."""
        raise NotImplementedError

    def train_step(self, *arguments):
        if keras.backend.backend() == "jax":
            return self._functional_step(*arguments)
        return self.update(*arguments)

    def _functional_step(self, state, data):
        variables = (
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        )
        mapping = [
            pair
            for each, values in zip(variables, state, strict=True)
            for pair in zip(each, values, strict=True)
        ]
        with keras.StatelessScope(mapping) as scope:
            logs = self.update(data)
        new_state = tuple(
            [scope.get_current_value(variable) for variable in each]
            for each in variables
        )
        return logs, new_state
