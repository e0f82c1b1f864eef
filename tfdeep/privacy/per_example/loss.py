"""The loss of one example: the compiled loss, on a batch of that example.

Whatever a loss does with a batch, here it sees one example at a time. Losses
that Keras adds up over a batch, or a user's that compares examples with each
other, therefore cannot let one example into the gradient of another.
"""

from keras import ops, tree

from tfdeep import backend
from tfdeep.inside import Reads
from tfdeep.masks import mask_of, with_mask
from tfdeep.privacy.per_example.mapping import map_examples
from tfdeep.privacy.per_example.purity import NotPrivateError


def loss_of_one(model, y, y_pred, weight):
    """The compiled loss of a batch of one, a scalar.

    What the loss notes down for the logs is thrown away.
    """
    mapping = [(v, v.value) for v in model.metrics_variables]
    with Reads(mapping) as reads:
        loss = model.compute_loss(
            y=y, y_pred=y_pred, sample_weight=weight, training=True
        )
    trained = {id(variable) for variable in model.trainable_variables}
    used = [v.path for v in reads.variables if id(v) in trained]
    if used:
        raise NotPrivateError(
            "`compute_loss` must use weights through the outputs of the model "
            f"alone: it would get no gradient by {', '.join(used)}. Make the "
            "term a regularizer of the layer, or an output of the model."
        )
    if len(loss.shape):
        raise ValueError(
            "The loss must be one number for a single example. Received: "
            f"shape {tuple(loss.shape)}. Return a scalar from `compute_loss`, "
            "or compile with a Keras loss."
        )
    return loss * divided_by(model)


def divided_by(model) -> int:
    """By how much Keras divides a loss for the devices that share a batch.

    Means are divided by their number, sums are not.
    """
    count = backend.replica_count()
    if count == 1:
        return 1
    given = [each for each in tree.flatten(model.loss) if each is not None]
    sums = {getattr(each, "reduction", "mean") == "sum" for each in given}
    if len(sums) > 1:
        raise ValueError(
            f"The losses must all be means or all be sums on {count} devices: "
            "Keras divides the means by the number of devices, and their "
            "total cannot be told apart afterwards. Received: both. Use one "
            "reduction for all."
        )
    return 1 if sums == {True} else count


def losses_of_rows(model, y, y_pred, weight):
    """The loss of each row of a batch, (rows,)."""
    masks = tree.map_structure(mask_of, y_pred)
    parts = (y, y_pred, weight, masks)
    leaves = [each for each in tree.flatten(parts) if each is not None]

    def one(leaves):
        y, y_pred, weight, masks = filled(parts, map(first_axis, leaves))
        # The loss leaves out what the mask of an output does.
        y_pred = tree.map_structure(with_mask, y_pred, masks)
        return loss_of_one(model, y, y_pred, weight)

    return map_examples(one, leaves)


def first_axis(tensor):
    """A tensor as a batch of one."""
    return ops.expand_dims(tensor, 0)


def filled(structure, leaves):
    """The structure with new leaves, where it has any."""
    leaves = iter(leaves)
    flat = [
        None if old is None else next(leaves) for old in tree.flatten(structure)
    ]
    return tree.pack_sequence_as(structure, flat)
