"""Gradients of each example by running the whole model on one at a time.

Right for any model, as each example is a batch of its own. Random layers get
a stream per example; what a layer would write into other state is dropped.
"""

from keras import ops, tree

from tfdeep import backend
from tfdeep.masks import mask_of, with_mask
from tfdeep.privacy.per_example.batch import Batch
from tfdeep.privacy.per_example.gradients import Gradients, Instances
from tfdeep.privacy.per_example.loss import filled, first_axis, loss_of_one
from tfdeep.privacy.per_example.mapped import maps_one_by_one
from tfdeep.privacy.per_example.mapping import map_examples, way_of_mapping
from tfdeep.privacy.per_example.purity import pure_call

STRIDE = 2654435761  # Of Knuth's multiplicative hash: spreads small numbers.


def seed_indices(model) -> list[int]:
    """Which of the non-trainable variables are states of random streams."""
    weights = {id(weight) for weight in model.weights}
    return [
        index
        for index, variable in enumerate(model.non_trainable_variables)
        if id(variable) not in weights
    ]


def seeds_of_examples(seed, count):
    """(count, ..., 2) states of streams, made from one of shape (..., 2).

    Layers that are stacked have a stream each.
    """
    steps = ops.cast(ops.arange(1, count + 1), seed.dtype)
    steps = ops.reshape(steps, (-1, *(1,) * (len(seed.shape) - 1)))
    first = seed[..., 0] + steps * ops.cast(STRIDE, seed.dtype)
    return ops.stack([first, ops.zeros_like(first) + seed[..., 1]], axis=-1)


class Vectorized:
    """Runs a model on each example of a batch, as one program or in a loop.

    Args:
        model: the built model to differentiate.
        owner: the compiled model whose loss is taken.
        loop: whether to take one example after the other: slower, and less
            memory.
    """

    def __init__(self, model, owner, loop: bool = False):
        self.model = model
        self.owner = owner
        self.loop = loop or maps_one_by_one(model)
        self.seeds = seed_indices(model)

    def describe(self) -> str:
        """How the gradients are had, in one line."""
        how = way_of_mapping(self.loop)
        return f"{self.model.name}: the whole model, {how}"

    def run(self, trainable, state, x, y, weight, views: int = 1) -> Batch:
        """Differentiate the loss of each example.

        Args:
            trainable: values of the trainable variables.
            state: values of the others.
            x: inputs, `views` rows for each example, one after the other.
            y: targets, a row per example.
            weight: sample weights, a row per example, or `None`.
            views: how many views of an example its loss is the mean over.
        """
        parts = (tree.map_structure(lambda t: _by_view(t, views), x), y, weight)
        leaves = [each for each in tree.flatten(parts) if each is not None]
        count = ops.shape(leaves[0])[0]
        seeds = [seeds_of_examples(state[i], count) for i in self.seeds]

        def one(arguments):
            leaves, seeds = arguments
            x, y, weight = filled(parts, leaves)
            return self.one_example(
                trainable, self._with(state, seeds), x, y, weight
            )

        grads, outputs, masks, losses, ends = map_examples(
            one, (leaves, seeds), self.loop
        )
        outputs = with_masks(outputs, masks)
        new_state = self._with(
            state,
            [
                ops.stack([state[i][..., 0], end[0]], axis=-1)
                for i, end in zip(self.seeds, ends, strict=True)
            ],
        )
        gradients = Gradients([Instances(each) for each in grads])
        return Batch(gradients, outputs, losses, new_state)

    def _with(self, state, seeds):
        state = list(state)
        for index, seed in zip(self.seeds, seeds, strict=True):
            state[index] = seed
        return state

    def one_example(self, trainable, state, x, y, weight):
        """Gradients, outputs of the first view, masks, loss, ends of streams.

        The masks are by the number of the output that has one: what is mapped
        over examples is made of tensors alone.
        """
        y, weight = (
            tree.map_structure(
                lambda t: None if t is None else first_axis(t), each
            )
            for each in (y, weight)
        )
        views = tree.flatten(x)[0].shape[0]

        def loss(trainable):
            with pure_call(self.model, trainable, state, self.seeds) as scope:
                y_pred = self.model(x, training=True)
            new_state = [
                scope.get_current_value(v)
                for v in self.model.non_trainable_variables
            ]
            shown = [y_pred]
            if views > 1:
                shown = [
                    tree.map_structure(lambda t, k=k: _view(t, k), y_pred)
                    for k in range(views)
                ]
            losses = [loss_of_one(self.owner, y, v, weight) for v in shown]
            ends = [new_state[i][..., 1] for i in self.seeds]
            first = tree.map_structure(lambda t: t[0], shown[0])
            masks = {
                number: mask[0]
                for number, mask in enumerate(
                    map(mask_of, tree.flatten(shown[0]))
                )
                if mask is not None
            }
            value = sum(losses) / views
            return value, (first, masks, value, ends)

        _, rest, grads = backend.gradients_with_aux(loss, list(trainable))
        return grads, *rest


def _view(tensor, number):
    """One view of an example, a batch of one, with its mask."""
    mask = mask_of(tensor)
    rows = slice(number, number + 1)
    return with_mask(tensor[rows], None if mask is None else mask[rows])


def with_masks(outputs, masks: dict):
    """The outputs, with the masks of some by their number."""
    leaves = [
        with_mask(each, masks.get(number))
        for number, each in enumerate(tree.flatten(outputs))
    ]
    return tree.pack_sequence_as(outputs, leaves)


def _by_view(tensor, views):
    """(rows, ...) -> (examples, views, ...)."""
    return ops.reshape(tensor, (-1, views, *tensor.shape[1:]))
