"""Numbers that are kept in twice the digits in which they are computed.

A block that is undone must see what it saw before, to the last digit: where
an activation has a kink, or rounding is amplified from block to block, a
difference there is one in the gradient. What runs from block to block is
therefore kept in about 50 binary digits, and blocks see the first 24 of them.

`Double` takes another dtype for that. Where there is none, `Pairs` keeps two
numbers, a value and what its rounding left over:

    a + b = s + e,    s = fl(a + b),    b' = s - a,
                      e = (a - (s - b')) + (b - b')

all operations rounded, and no error in the sum (Knuth, "The Art of Computer
Programming", volume 2, 4.2.2, theorem B). A product by a constant is taken
apart into products of 12 digits, which are exact (Dekker, "A floating-point
technique for extending the available precision", 1971). A compiler that
computes a product and a sum in one rounding would change what is left over:
`_rounded` stands between the two. XLA leaves the order of sums as it is. The
graphs of TensorFlow do not, and have float64.
"""

import numpy as np
from keras import ops

from tfdeep import backend

LARGEST = float(np.finfo("float32").max)
CUT = 2.0**12 + 1.0  # Takes 24 digits apart in the middle.
EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}


class Same:
    """No further digits.

    Args:
        dtype: that of the numbers.
    """

    def __init__(self, dtype):
        self.dtype = dtype
        self.rounding = EPSILON[dtype]

    def widen(self, x):
        """A number as it is kept."""
        return x

    def narrow(self, w):
        """What of it is computed with."""
        return w

    def add(self, a, b):
        """The sum of two that are kept."""
        return a + b

    def subtract(self, a, b):
        """The difference of two that are kept."""
        return a - b

    def scale(self, w, factor):
        """One that is kept, times a number of Python."""
        return w * factor


class Double(Same):
    """float32 kept as float64."""

    def __init__(self):
        super().__init__("float64")

    def widen(self, x):
        return ops.cast(x, "float64")

    def narrow(self, w):
        return ops.cast(w, "float32")


class Pairs:
    """float32 kept as two float32, stacked along a new first axis."""

    rounding = 2.0**-47

    def widen(self, x):
        # It may be a product that was just made, and is going to be added.
        return ops.stack([_rounded(x), ops.zeros_like(x)])

    def narrow(self, w):
        return w[0]

    def add(self, a, b):
        total, left = _two_sum(a[0], b[0])
        return _normal(total, left + (a[1] + b[1]))

    def subtract(self, a, b):
        return self.add(a, -b)

    def scale(self, w, factor):
        first = np.float32(factor)
        rest = np.float32(factor - float(first))
        product, left = _two_product(w[0], first)
        return _normal(product, left + (w[0] * rest + w[1] * first))


def numbers(dtype: str, wide: bool):
    """How numbers of a dtype are kept.

    Args:
        dtype: `"float32"` or `"float64"`.
        wide: boolean, whether float32 is kept in twice the digits.
    """
    if not wide or dtype == "float64":
        return Same(dtype)
    return Double() if backend.has_float64() else Pairs()


def _two_sum(a, b):
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def _two_product(a, factor):
    """a times a float32 of NumPy, and what rounding left over."""
    product = _rounded(a * factor)
    wide = _rounded(a * CUT)
    high = wide - (wide - a)
    low = a - high
    scaled = np.float32(factor * np.float32(CUT))
    first = np.float32(scaled - np.float32(scaled - factor))
    second = np.float32(factor - first)
    left = ((high * first - product) + high * second + low * first) + (
        low * second
    )
    return product, left


def _normal(total, left):
    """A pair of which the first number is the sum, rounded."""
    first = total + left
    return ops.stack([first, left - (first - total)])


def _rounded(x):
    """x, as it is stored: no compiler moves a product past a minimum."""
    return ops.minimum(x, LARGEST)
