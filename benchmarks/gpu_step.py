"""A model's training step as one program, compiled for a device of choice.

It is `model.train_step`, which Keras compiles in `fit` on JAX: compiled here
by hand, it can run on either device of a process, and tells its memory.
"""

import jax
import keras


def ready(model, loss, rate):
    """Compile a model; make what its step needs, on the CPU."""
    model.compile(keras.optimizers.SGD(rate), loss)
    model.optimizer.build(model.trainable_variables)
    return model


def variables_of(model) -> tuple:
    """The variables of a step, in the order of its state."""
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )


def state_of(model) -> tuple:
    """The values that a step begins with."""
    return tuple([v.value for v in each] for each in variables_of(model))


class Step:
    """The step of a model on one device, ready to be timed.

    Args:
        model: a compiled model with a built optimizer.
        data: `(x, y)`.
        device: where it runs.
    """

    def __init__(self, model, data, device):
        self.data = jax.device_put(data, device)
        self.state = jax.device_put(state_of(model), device)
        # As Keras does, the step may write over the old state.
        step = jax.jit(model.train_step, donate_argnums=0)
        self.lowered = step.lower(self.state, self.data)
        self.program = None

    def compile(self):
        self.program = self.lowered.compile()
        return self

    def memory(self) -> int:
        """Bytes that the program sets aside for what it computes on the way.

        A figure of XLA's own plan: activations that wait for the backward
        pass, gradients, workspaces. State and data come on top.
        """
        return self.program.memory_analysis().temp_size_in_bytes

    def __call__(self, times: int = 1):
        """Take steps; return what to wait for."""
        for _ in range(times):
            logs, self.state = self.program(self.state, self.data)
        return logs, self.state
