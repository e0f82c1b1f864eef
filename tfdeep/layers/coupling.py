"""Two ways to couple blocks so that each can be undone.

The stream is a pair (a, b). A block f sees one of the two, its output y is
added to the other, and from the pair after it the pair before it follows.

    momentum    v' = gamma v + (1 - gamma) f(x),  x' = x + v',  a = x, b = v
    additive    (a, b)' = (b, a + f(b)),          halves of the channels

Undoing momentum divides v by gamma, which multiplies errors. And so the pair
is kept in more digits than blocks compute in, and, anew, every few blocks.
Additive coupling does not amplify errors.

Sander et al., "Momentum Residual Neural Networks", 2021, eq. 2 and 3; Gomez et
al., "The Reversible Residual Network", 2017, eq. 6 to 8, whose two functions
are two blocks here.
"""

import math

from keras import ops

from tfdeep.checks import check_number
from tfdeep.layers.precise import EPSILON

SLOPE = 0.5  # Of a block, that is how much of an error in x gets into f(x).
# Errors of the pair and of the gradient: what "auto" stays below, and what no
# setting may exceed. What is measured of the gradient is up to four times that.
AIM = 2.0**-31, 1e-5
LIMIT = 2.0**-24, 1e-4 / 4
HALF_GROWTH = 0.9**-10  # gamma^-k where blocks compute in half precision.


class Momentum:
    """v' = gamma v + (1 - gamma) f(x), x' = x + v', from v = 0.

    `gamma=0` is the plain residual net, which cannot be undone; at `gamma=1`
    the blocks have no influence.

    Args:
        gamma: float in [0, 1].
        kept: how the pair is kept, of `tfdeep.layers.precise`.
    """

    def __init__(self, gamma: float, kept):
        self.gamma = gamma
        self.kept = kept

    def start(self, x):
        """The pair that the first block gets."""
        x = self.kept.widen(x)
        return x, ops.zeros_like(x)

    def end(self, x, v):
        """What leaves the last block."""
        return self.kept.narrow(x)

    def seen(self, x, v):
        """What the next block sees."""
        return self.kept.narrow(x)

    def forward(self, x, v, y):
        """The pair after a block that returned y."""
        v = self.kept.scale(v, self.gamma)
        v = self.kept.add(v, self._share(y))
        return self.kept.add(x, v), v

    def source(self, x, v):
        """Where the block before saw what it saw."""
        return self.kept.subtract(x, v)

    def backward(self, x, v, source, y):
        """The pair before a block that returned y, of which one is known."""
        v = self.kept.subtract(v, self._share(y))
        return source, self.kept.scale(v, 1 / self.gamma)

    def _share(self, y):
        return self.kept.widen((1 - self.gamma) * y)

    def end_gradients(self, dy):
        """The gradients by the pair after the last block."""
        return dy, ops.zeros_like(dy)

    def cotangent(self, dx, dv):
        """The gradient by y."""
        return (1 - self.gamma) * (dx + dv)

    def gradients(self, dx, dv, dseen):
        """The gradients by the pair before the block."""
        return dx + dseen, self.gamma * (dx + dv)

    def start_gradient(self, dx, dv):
        """The gradient by what came to the first block."""
        return dx


class Additive:
    """(a, b)' = (b, a + f(b)) on halves of an axis.

    Args:
        axis: integer, the axis that is halved.
        count: integer, the number of blocks.
        kept: how the pair is kept, of `tfdeep.layers.precise`.
    """

    def __init__(self, axis: int, count: int, kept):
        self.axis = axis
        self.count = count
        self.kept = kept

    def start(self, x):
        """The halves."""
        halves = ops.split(x, 2, axis=self.axis)
        return tuple(self.kept.widen(half) for half in halves)

    def end(self, a, b):
        """The halves side by side, each where it was."""
        pair = [b, a] if self.count % 2 else [a, b]
        halves = [self.kept.narrow(half) for half in pair]
        return ops.concatenate(halves, axis=self.axis)

    def seen(self, a, b):
        """What the next block sees."""
        return self.kept.narrow(b)

    def forward(self, a, b, y):
        """The pair after a block that returned y."""
        return b, self.kept.add(a, self.kept.widen(y))

    def source(self, a, b):
        """Where the block before saw what it saw."""
        return a

    def backward(self, a, b, source, y):
        """The pair before a block that returned y, of which one is known."""
        return self.kept.subtract(b, self.kept.widen(y)), source

    def end_gradients(self, dy):
        """The gradients by the pair after the last block."""
        halves = ops.split(dy, 2, axis=self.axis)
        return tuple(reversed(halves) if self.count % 2 else halves)

    def cotangent(self, da, db):
        """The gradient by y."""
        return db

    def gradients(self, da, db, dseen):
        """The gradients by the pair before the block."""
        return db, da + dseen

    def start_gradient(self, da, db):
        """The gradient by what came to the first block."""
        return ops.concatenate([da, db], axis=self.axis)


def check_gamma(gamma: float, undone: bool) -> None:
    """Raise `ValueError` unless gamma can be that of blocks, undone or not."""
    check_number("gamma", gamma)
    if not 0 <= gamma <= 1:
        raise ValueError(
            f"`gamma` must be from 0 to 1. Received: gamma={gamma!r}. Pass "
            "for example 0.9."
        )
    if undone and gamma == 0:
        raise ValueError(
            "`gamma` must be above 0, as undoing a block divides by it. "
            "Received: gamma=0 with recompute=True. Pass for example 0.9, or "
            "recompute=False."
        )


def checkpoints(every, gamma: float, kept, compute, count: int) -> int:
    """How many blocks there are from one kept pair to the next.

    Two errors grow on the way back. Rounding of the pair, by `growth` per
    block. And what a compiler makes of a block, computed again with its
    gradient beside it, may differ in the last digit: that grows by 1 / gamma.

    Args:
        every: `"auto"`, a positive integer, or `None` for the end alone.
        gamma: float in (0, 1].
        kept: how the pair is kept, of `tfdeep.layers.precise`.
        compute: dtype in which blocks may be rounded differently when they
            are computed again, or `None` if they are not.
        count: integer, the number of blocks.

    Raises:
        ValueError: if that many cannot be undone without a relative error of
            the gradient above 1e-4.
    """
    if every == "auto":
        # As few pairs as the aim allows, and as far apart as each other.
        most = _steps(gamma, AIM, kept, compute)
        return math.ceil(count / math.ceil(count / most))
    every = count if every is None else min(every, count)
    most = _steps(gamma, LIMIT, kept, compute)
    if every > most:
        raise ValueError(
            f"`checkpoint_every` leaves {every} blocks to be undone at gamma="
            f"{gamma}. The gradient's relative error stays below 1e-4 for up "
            f"to {most} blocks. Pass checkpoint_every='auto', at most that "
            "number, or a gamma nearer to 1."
        )
    return every


def _steps(gamma, tolerances, kept, compute) -> int:
    """The largest k after which neither error has grown to its tolerance."""
    if gamma == 1:
        return 2**31
    pair, gradient = tolerances
    steps = math.log(pair / kept.rounding) / math.log(growth(gamma))
    if compute:
        known = compute in EPSILON
        most = gradient / EPSILON[compute] if known else HALF_GROWTH
        steps = min(steps, math.log(most) / math.log(1 / gamma) + 1e-9)
    return max(1, math.floor(steps))


def growth(gamma: float) -> float:
    """By how much undoing one block multiplies an error of the pair.

    That is the larger eigenvalue of the step from the errors of (x, v) after
    the block to those before it, for a block of slope s = `SLOPE`:

        e_x <- e_x - e_v,   e_v <- (e_v - (1 - gamma) s (e_x - e_v)) / gamma
    """
    share = SLOPE * (1 - gamma) / gamma
    trace = 1 + 1 / gamma + share
    return (trace + math.sqrt(trace**2 - 4 / gamma)) / 2
