"""What a number of noisy updates costs: epsilon of a noise and noise of one.

The mathematics is dp-accounting's. What is said here is which of its events
describes an update, and how finely to compute.

An update adds N(0, sigma^2 C^2) to a sum of gradients of norm at most C.

*Poisson sampling*, neighbours that add or remove an example: the sum moves by
C at most, so the update is a Gaussian mechanism of noise multiplier sigma on a
Poisson sample of rate q.

*Fixed-size batches*, neighbours that replace an example: one vector of norm C
turns into another, the sum moves by up to 2 C, so the same noise is worth
sigma / 2 only. The bound is Renyi's, of Wang, Balle and Kasiviswanathan 2019.

Every approximation errs to the safe side: epsilon too high, noise too strong.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

# Privacy losses are rounded up to multiples of the interval. On the published
# settings epsilon is too high by 0.0003 at most.
INTERVAL = 2e-4
# Losses grow with epsilon: the grid grows no further than for this epsilon.
FINE_UP_TO = 5.0
# The orders of the search for a noise under fixed-size batches, where each
# takes long; fewer orders give a higher epsilon.
FEW_ORDERS = (1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256)
# Noise multipliers beyond these are no training.
LEAST_NOISE, MOST_NOISE = 2.0**-6, 2.0**20
# Renyi's orders, as dp-accounting has them.
ORDERS = (
    *(1 + tenth / 10 for tenth in range(1, 100)),
    *range(11, 64),
    *(128, 256, 512, 1024),
)
# The noise found is too strong by this part of it at most.
TOLERANCE = 1e-4


def load() -> tuple[Any, Any, Any]:
    """The library and its two accountants, or an error that says what to do."""
    try:
        import dp_accounting
        from dp_accounting import pld, rdp
    except ImportError as error:
        raise ImportError(
            "A privacy plan needs dp-accounting, which is not installed. It "
            "computes epsilon, from version 0.4.3 on. Install it with "
            'pip install "tfdeep[accounting]".'
        ) from error
    return dp_accounting, pld.PLDAccountant, rdp.RdpAccountant


def interval_for(epsilon: float) -> float:
    """The grid for an epsilon of about this size."""
    size = min(max(epsilon, 1e-3), 1e6)
    return INTERVAL * max(min(size, 1.0), size / FINE_UP_TO)


@dataclass(frozen=True)
class Updates:
    """So many noisy updates, and how they are accounted.

    Args:
        num_examples: integer N.
        batch_size: integer B; under Poisson sampling the expected size.
        steps: integer, the number of updates.
        delta: float.
        method: `"pld"`, `"rdp"`, or `"fixed-size"`.
        interval: the grid of `"pld"`.
        orders: the orders of `"fixed-size"`, or `None` for all.
    """

    num_examples: int
    batch_size: int
    steps: int
    delta: float
    method: str
    interval: float = INTERVAL
    orders: tuple | None = None

    @property
    def rate(self) -> float:
        """The part of the examples that is in an update."""
        return self.batch_size / self.num_examples

    def accountant(self, sigma: float):
        """A fresh accountant for this noise."""
        dp, pld, rdp = load()
        if self.method == "pld":
            return pld(value_discretization_interval=self.interval)
        if self.method == "rdp":
            return rdp(converging_orders(self.rate, sigma))
        relation = dp.NeighboringRelation.REPLACE_ONE
        return rdp(self.orders, neighboring_relation=relation)

    def event(self, sigma: float):
        """The updates as the library sees them."""
        dp, _, _ = load()
        if self.method == "fixed-size":
            update = dp.SampledWithoutReplacementDpEvent(
                self.num_examples,
                self.batch_size,
                dp.GaussianDpEvent(sigma / 2),
            )
        else:
            update = dp.PoissonSampledDpEvent(
                self.rate, dp.GaussianDpEvent(sigma)
            )
        return dp.SelfComposedDpEvent(update, self.steps)

    def epsilon(self, sigma: float) -> float:
        """Epsilon of all updates."""
        spent = self.accountant(sigma).compose(self.event(sigma))
        return float(spent.get_epsilon(self.delta))

    def noise(self, epsilon: float, low: float, high: float) -> float:
        """The noise of an epsilon, between two noises."""
        dp, _, _ = load()
        return dp.calibrate_dp_mechanism(
            lambda: self.accountant(low),
            self.event,
            epsilon,
            self.delta,
            dp.ExplicitBracketInterval(low, high),
            tol=TOLERANCE * low,
        )


def converging_orders(q: float, sigma: float) -> tuple:
    """The orders whose series, for Poisson samples, ends within 1,000 terms.

    With i the number of a term and a an order that is no integer, terms fall
    like (q / (1 - q))^i up to i = sigma^2 log(1 / q - 1) + 1/2, and like
    i^-(a + 2) from there on. Of small orders the latter is too slow, unless
    what comes before has brought them down to exp(-30).
    """
    if not 0 < q < 1:
        return ORDERS
    fall = math.log(1 / q - 1)
    enough = 30 / fall if fall > 0 else math.inf
    if sigma**2 * fall + 0.5 > enough:
        return ORDERS
    least = 2.0 if sigma < 8 else 2.6
    return tuple(a for a in ORDERS if a > least or a == int(a))


@lru_cache(maxsize=4096)
def epsilon_of(
    num_examples: int,
    batch_size: int,
    sigma: float,
    steps: int,
    delta: float,
    method: str,
    interval: float | None = None,
) -> float:
    """Epsilon of so many updates of noise multiplier `sigma`.

    The other arguments are those of `Updates`; no `interval` means one that
    the size of epsilon asks for.
    """
    if steps == 0:
        return 0.0
    if sigma == 0:
        return math.inf
    shared = num_examples, batch_size, steps, delta
    if method == "pld" and interval is None:
        interval = interval_for(Updates(*shared, "rdp").epsilon(sigma))
    return Updates(*shared, method, interval or INTERVAL).epsilon(sigma)


@lru_cache(maxsize=256)
def noise_for(
    num_examples: int,
    batch_size: int,
    epsilon: float,
    steps: int,
    delta: float,
    method: str,
) -> float:
    """The least noise multiplier, to four digits, of at most this epsilon."""
    shared = num_examples, batch_size, steps, delta
    start, factor = 1.0, 2.0
    if method == "pld":
        # The quick bound says where the slow one is to be asked.
        start, factor = (
            noise_for(*shared[:2], epsilon, steps, delta, "rdp"),
            1.1,
        )
    # A coarser grid in the search, where a fine one takes seconds.
    interval = interval_for(epsilon) * max(1.0, min(epsilon / 2, 4.0))
    updates = Updates(*shared, method, interval, FEW_ORDERS)
    low, high = bracket(updates.epsilon, epsilon, start, factor)
    return round_up(updates.noise(epsilon, low, high))


def bracket(spent, epsilon: float, start: float, factor: float):
    """Two noises, a factor apart, between which the epsilon asked for lies."""
    high = start
    while above(spent, high, epsilon):
        high *= factor
        if high > MOST_NOISE:
            raise ValueError(
                "`epsilon` must be greater: no noise keeps that many updates "
                f"below it at that delta. Received: epsilon={epsilon}. Or "
                "raise delta, or take fewer steps."
            )
    low = high / factor
    while spent(low) <= epsilon:
        high, low = low, low / factor
        if low < LEAST_NOISE:
            raise ValueError(
                "`epsilon` must be smaller: even a noise multiplier of "
                f"{LEAST_NOISE:.3g} spends less. Received: epsilon={epsilon}. "
                "Or name the `noise_multiplier`."
            )
    return low, high


def above(spent, sigma: float, epsilon: float) -> bool:
    """Whether so much noise spends more; also where it cannot be computed."""
    try:
        return not spent(sigma) <= epsilon
    except (ArithmeticError, ValueError):  # Of numbers too small or large.
        return True


def round_up(value: float) -> float:
    """The value in four digits, rounded up."""
    digits = 3 - math.floor(math.log10(value))
    return round(math.ceil(value * 10**digits) / 10**digits, max(digits, 0))


@lru_cache(maxsize=256)
def passes_epsilon(passes: int, sigma: float, delta: float) -> float:
    """Epsilon of passes over the data in any order, replace-one.

    Each pass meets the replaced example in one batch, so it is one Gaussian
    mechanism of sensitivity 2 C: nothing is assumed about the order.
    """
    if sigma == 0:
        return math.inf
    dp, pld, _ = load()
    joint = dp.GaussianDpEvent(sigma / 2 / math.sqrt(passes))
    # The size of epsilon: mu^2 / 2 + z mu, z for a delta of 1e-12.
    mu = 2 * math.sqrt(passes) / sigma
    losses = pld(value_discretization_interval=interval_for(mu**2 / 2 + 7 * mu))
    return float(losses.compose(joint).get_epsilon(delta))
