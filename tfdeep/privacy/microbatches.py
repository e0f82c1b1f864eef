"""A logical batch of any size, in the memory of a small one."""

from keras import ops, tree

from tfdeep import backend
from tfdeep.masks import mask_of, with_mask
from tfdeep.privacy.clipped_sum import ClippedSum, clip_and_sum, presence
from tfdeep.privacy.per_example.gradients import widened
from tfdeep.privacy.per_example.loss import filled


class Summation:
    """Sums clipped gradients over a batch, part by part.

    Args:
        engine: differentiates, example by example.
        clipping: a `Clipping`.
        groups: lists of indices of weights that are clipped together.
        mechanism: a `Mechanism`.
        views: `Views`, or `None`.
        size: how many examples are in memory at once, `None` for all.
    """

    def __init__(self, engine, clipping, groups, mechanism, views, size):
        self.engine = engine
        self.clipping = clipping
        self.groups = groups
        self.mechanism = mechanism
        self.views = views
        self.size = size

    def run(self, values, mechanism_state, x, y, weight) -> ClippedSum:
        """Return the sum over a batch.

        Args:
            values: of the trainable variables, of the others, and of the
                layer that makes views: three lists.
            mechanism_state: the mechanism's state.
            x: inputs, a row per example.
            y: targets.
            weight: sample weights, or `None`.
        """
        rows = ops.shape(_first(x))[0]
        if self.size is None or (isinstance(rows, int) and rows <= self.size):
            return self._part(values, mechanism_state, x, y, weight)
        if weight is None:
            weight = ops.ones((rows,), "float32")
        return self._in_parts(values, mechanism_state, x, y, weight, rows)

    def _part(self, values, mechanism_state, x, y, weight):
        trainable, state, augmented = values
        present = presence(weight, ops.shape(_first(x))[0])
        count = 1
        if self.views is not None:
            count = self.views.count
            x, augmented = self.views.shown(x, augmented)
        batch = self.engine.run(trainable, state, x, y, weight, count)
        clipped = clip_and_sum(
            batch.gradients,
            present,
            self.clipping,
            self.groups,
            self.mechanism,
            mechanism_state,
        )
        return clipped._replace(
            outputs=batch.outputs,
            losses=batch.losses,
            state=list(batch.state),
            augmented=augmented,
        )

    def _in_parts(self, values, mechanism_state, x, y, weight, rows):
        trainable, state, augmented = values
        seeds = self.engine.seeds
        parts = (x, y, weight)
        leaves = [each for each in tree.flatten(parts) if each is not None]
        zeros = [ops.zeros_like(widened(each)) for each in trainable]
        sizes = [len(zeros), len(seeds), len(augmented)]
        made = []

        def step(carry, leaves):
            sums, streams, augmented = _cut(carry, sizes)
            full = list(state)
            for index, stream in zip(seeds, streams, strict=True):
                full[index] = stream
            x, y, weight = filled(parts, leaves)
            part = self._part(
                (trainable, full, augmented), mechanism_state, x, y, weight
            )
            made[:] = [part]
            sums = [
                old + ops.cast(new, old.dtype)
                for old, new in zip(sums, part.sums, strict=True)
            ]
            carry = [*sums, *(part.state[i] for i in seeds), *part.augmented]
            return carry, [*_scalars(part), *_rows(part)]

        carry, found = backend.scan(
            step,
            [*zeros, *(state[i] for i in seeds), *augmented],
            [self._as_parts(each, rows) for each in leaves],
        )
        (part,) = made
        sums, streams, augmented = _cut(carry, sizes)
        state = list(state)
        for index, stream in zip(seeds, streams, strict=True):
            state[index] = stream
        count = len(_scalars(part))
        totals = [ops.sum(each, axis=0) for each in found[:count]]
        joined = [
            ops.reshape(each, (-1, *each.shape[2:]))[:rows]
            for each in found[count:]
        ]
        shown = tree.flatten(part.outputs)
        outputs, masks = joined[2 : 2 + len(shown)], joined[2 + len(shown) :]
        for index, each in enumerate(shown):
            if mask_of(each) is not None:
                outputs[index] = with_mask(outputs[index], masks.pop(0))
        return ClippedSum(
            sums,
            totals[3:],
            joined[0],
            *totals[:3],
            outputs=tree.pack_sequence_as(part.outputs, outputs),
            losses=joined[1],
            state=state,
            augmented=augmented,
        )

    def _as_parts(self, tensor, rows):
        """(rows, ...) -> (parts, size, ...), zeros at the end."""
        missing = -rows % self.size
        shape = tuple(tensor.shape[1:])
        more = ops.zeros((missing, *shape), tensor.dtype)
        tensor = ops.concatenate([tensor, more], axis=0)
        return ops.reshape(tensor, (-1, self.size, *shape))


def _scalars(part):
    return [part.clipped, part.present, part.not_finite, *part.counts]


def _rows(part):
    outputs = tree.flatten(part.outputs)
    masks = [mask for mask in map(mask_of, outputs) if mask is not None]
    return [part.norms, part.losses, *outputs, *masks]


def _first(x):
    return next(each for each in tree.flatten(x) if each is not None)


def _cut(values, sizes):
    """A list in pieces of these sizes."""
    pieces, start = [], 0
    for size in sizes:
        pieces.append(list(values[start : start + size]))
        start += size
    return pieces
