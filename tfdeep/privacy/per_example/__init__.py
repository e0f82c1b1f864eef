"""Gradients of the examples of a batch, each by the cheapest exact way."""

from tfdeep.checks import check_choice
from tfdeep.graph.opening import CannotOpen
from tfdeep.privacy.per_example.book_keeping import BookKeeping
from tfdeep.privacy.per_example.vectorized import Vectorized

METHODS = ("auto", "vectorized", "loop", "tf_privacy")


def engine_for(model, owner, method: str):
    """What differentiates a built model, example by example.

    Args:
        model: the built model.
        owner: the compiled model whose loss is taken.
        method: `"auto"`, `"vectorized"`, `"loop"` or `"tf_privacy"`.
    """
    check_choice("method", method, METHODS)
    if method == "tf_privacy":
        # An extra, imported when it is asked for.
        from tfdeep.privacy.tf_privacy.engine import TfPrivacyEngine

        return TfPrivacyEngine(engine_for(model, owner, "auto"), model, owner)
    if method == "auto":
        try:
            return BookKeeping(model, owner)
        except CannotOpen:
            method = "vectorized"
    return Vectorized(model, owner, loop=method == "loop")
