"""What layers with a reversible chain inside have in common."""

import keras
from keras import ops

from tfdeep.checks import check_positive
from tfdeep.layers.coupling import checkpoints
from tfdeep.layers.frozen_parts import KeepsFrozenParts
from tfdeep.layers.precise import numbers

HALVES = ("float16", "bfloat16")


class ReversibleLayer(KeepsFrozenParts):
    """The base of `ReversibleStack` and `ReversibleCapsule`.

    Args:
        gamma: float, that of the momentum coupling.
        checkpoint_every: `"auto"`, a positive integer, or `None`.
        recompute: boolean, whether blocks are undone in the backward pass.
        **kwargs: of a Keras layer.
    """

    def __init__(self, gamma, checkpoint_every, recompute, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if checkpoint_every not in ("auto", None):
            check_positive("checkpoint_every", checkpoint_every)
        if not isinstance(recompute, bool):
            raise ValueError(
                "`recompute` must be True or False. Received: "
                f"recompute={recompute!r}. Pass one of these."
            )
        self.gamma = gamma
        self.checkpoint_every = checkpoint_every
        self.recompute = recompute

    @property
    def stream_dtype(self) -> str:
        """The dtype of what runs from block to block: never a half."""
        half = self.compute_dtype in HALVES
        return "float32" if half else self.compute_dtype

    def kept(self, training=True):
        """How the pair is kept, of `tfdeep.layers.precise`.

        In more digits only where blocks are going to be undone.
        """
        return numbers(self.stream_dtype, bool(self.recompute and training))

    def blocks_kept(self, gamma, count: int, compute: str | None = None):
        """How many blocks there are between kept pairs; checks the user's.

        Args:
            gamma: float, by which undoing a block divides.
            count: integer, the number of blocks.
            compute: dtype of blocks of any content. Without, they are known
                to be rounded alike when they are computed again, unless the
                layer computes in half precision.
        """
        if not self.recompute:
            return None
        if compute is None and self.compute_dtype in HALVES:
            compute = self.compute_dtype
        return checkpoints(
            self.checkpoint_every, gamma, self.kept(), compute, count
        )

    def __call__(self, inputs, *args, **kwargs):
        # Before `build`, which gets a ragged tensor's shape with gaps.
        if getattr(inputs, "ragged", False) or hasattr(
            inputs, "nested_row_splits"
        ):
            raise ValueError(
                f"The input of {type(self).__name__} must be dense. Received: "
                "a ragged tensor. Pass `inputs.to_tensor()`, with a mask."
            )
        return super().__call__(inputs, *args, **kwargs)

    def stream(self, inputs):
        """The inputs in the dtype of the stream.

        Raises:
            ValueError: if they are no floating-point numbers.
        """
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        if not keras.backend.is_float_dtype(dtype):
            raise ValueError(
                f"The input of {type(self).__name__} must be floating-point "
                f"numbers, to which its blocks add. Received: {dtype}. Cast "
                "it before."
            )
        return ops.cast(inputs, self.stream_dtype)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "gamma": self.gamma,
            "checkpoint_every": self.checkpoint_every,
            "recompute": self.recompute,
        }
