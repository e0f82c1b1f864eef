"""Two ways to couple blocks so that each can be undone.

The stream is a pair (a, b). A block f sees one of the two, its output y is
added to the other, and from the pair after it the pair before it follows.

    momentum    v' = gamma v + (1 - gamma) f(x),  x' = x + v',  a = x, b = v
    additive    (a, b)' = (b, a + f(b)),          halves of the channels

Undoing momentum divides v by gamma: rounding errors grow like gamma^-k over k
blocks, and so the pair is kept every few blocks. Additive coupling does not
amplify them.

Sander et al., "Momentum Residual Neural Networks", 2021, eq. 2 and 3; Gomez et
al., "The Reversible Residual Network", 2017, eq. 6 to 8, whose two functions
are two blocks here.
"""

import math

from keras import ops

from tfdeep.checks import check_number

EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}
AIM = 1e-5  # Of the gradient's relative error, by gamma^-k times epsilon.
LIMIT = 1e-4 / 4  # What is measured is up to four times that.
HALF_GROWTH = 0.9**-10  # gamma^-k where blocks compute in half precision.


class Momentum:
    """v' = gamma v + (1 - gamma) f(x), x' = x + v', from v = 0.

    `gamma=0` is the plain residual net, which cannot be undone; at `gamma=1`
    the blocks have no influence.

    Args:
        gamma: float in [0, 1].
    """

    def __init__(self, gamma: float):
        self.gamma = gamma

    def start(self, x):
        """The pair that the first block gets."""
        return x, ops.zeros_like(x)

    def end(self, x, v):
        """What leaves the last block."""
        return x

    def seen(self, x, v):
        """What the next block sees."""
        return x

    def forward(self, x, v, y):
        """The pair after a block that returned y."""
        v = self.gamma * v + (1 - self.gamma) * y
        return x + v, v

    def was_seen(self, x, v):
        """What the block before saw."""
        return x - v

    def backward(self, x, v, seen, y):
        """The pair before a block that saw this and returned y."""
        return seen, (v - (1 - self.gamma) * y) / self.gamma

    def cotangent(self, dx, dv):
        """The gradient by y."""
        return (1 - self.gamma) * (dx + dv)

    def gradients(self, dx, dv, dseen):
        """The gradients by the pair before the block."""
        return dx + dseen, self.gamma * (dx + dv)


class Additive:
    """(a, b)' = (b, a + f(b)) on halves of an axis.

    Args:
        axis: integer, the axis that is halved.
        count: integer, the number of blocks.
    """

    def __init__(self, axis: int, count: int):
        self.axis = axis
        self.count = count

    def start(self, x):
        """The halves."""
        return tuple(ops.split(x, 2, axis=self.axis))

    def end(self, a, b):
        """The halves side by side, each where it was."""
        pair = [b, a] if self.count % 2 else [a, b]
        return ops.concatenate(pair, axis=self.axis)

    def seen(self, a, b):
        """What the next block sees."""
        return b

    def forward(self, a, b, y):
        """The pair after a block that returned y."""
        return b, a + y

    def was_seen(self, a, b):
        """What the block before saw."""
        return a

    def backward(self, a, b, seen, y):
        """The pair before a block that saw this and returned y."""
        return b - y, seen

    def cotangent(self, da, db):
        """The gradient by y."""
        return db

    def gradients(self, da, db, dseen):
        """The gradients by the pair before the block."""
        return db, da + dseen


def check_gamma(gamma: float, recompute: bool) -> None:
    """Raise `ValueError` unless momentum with this gamma can be undone."""
    check_number("gamma", gamma)
    if not 0 <= gamma <= 1 or (recompute and gamma == 0):
        wanted = "above 0 and at most 1" if recompute else "from 0 to 1"
        raise ValueError(
            f"`gamma` came as {gamma!r} with recompute={recompute}. It must "
            f"be {wanted}: undoing a block divides by it. Pass for example "
            "0.9, or recompute=False."
        )


def checkpoints(every, gamma: float, stream: str, compute: str, count: int):
    """How many blocks there are from one kept pair to the next.

    Args:
        every: `"auto"`, a positive integer, or `None` for the end alone.
        gamma: float in (0, 1].
        stream: dtype of the pair.
        compute: dtype of the blocks.
        count: integer, the number of blocks.

    Raises:
        ValueError: if that many cannot be undone without a relative error of
            the gradient above 1e-4.
    """
    if every == "auto":
        # As few pairs as the aim allows, and as far apart as each other.
        most = _steps(gamma, AIM, stream, compute)
        return math.ceil(count / math.ceil(count / most))
    every = count if every is None else min(every, count)
    most = _steps(gamma, LIMIT, stream, compute)
    if every > most:
        raise ValueError(
            f"`checkpoint_every` leaves {every} blocks to be undone at gamma="
            f"{gamma}, in {compute} with a stream in {stream}. The gradient's "
            f"relative error stays below 1e-4 for up to {most} blocks. Pass "
            "checkpoint_every='auto', at most that number, or a gamma nearer "
            "to 1."
        )
    return every


def _steps(gamma, tolerance, stream, compute) -> int:
    """The largest k with gamma^-k epsilon below the tolerance."""
    if gamma == 1:
        return 2**31
    growth = tolerance / EPSILON[stream]
    if stream != compute:
        growth = min(growth, HALF_GROWTH)
    steps = math.log(growth) / math.log(1 / gamma)
    return max(1, math.floor(steps + 1e-9))
