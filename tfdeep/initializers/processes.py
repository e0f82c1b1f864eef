"""What several processes that train one model start from.

Each draws numbers, and sees data, of its own. Those of the first one are what
all of them use, so that all find the same weights.
"""

import numpy as np

from tfdeep import backend


def of_first(array: np.ndarray, variable) -> np.ndarray:
    """The array of the first process; the array itself if there is but one.

    Args:
        array: numbers, of one rank and dtype in all processes.
        variable: one that the processes train together.

    Raises:
        ValueError: if the array is text.
    """
    if backend.process_count() == 1:
        return array
    if array.dtype.kind not in "biufcV":
        raise ValueError(
            "Data of several processes must be numbers. Received: text of "
            f"dtype {array.dtype}, which cannot be handed from one to the "
            "others. Start in one process and save the model."
        )
    shape = tuple(_bits(np.array(array.shape), variable).tolist())
    if shape != array.shape:
        array = np.zeros(shape, array.dtype)
    return _bits(array, variable)


def common_seed(seed: int | None, variable) -> int | None:
    """The seed; without one, of several processes that of the first."""
    if seed is not None or backend.process_count() == 1:
        return seed
    (drawn,) = np.random.SeedSequence().generate_state(1)
    return int(_bits(np.array([drawn], "int64"), variable)[0])


def _bits(array, variable):
    flat = np.ascontiguousarray(array).reshape(-1)
    bits = "int32" if flat.nbytes % 4 == 0 else "uint8"
    found = backend.of_first_process(flat.view(bits), variable)
    return found.astype(bits).view(array.dtype).reshape(array.shape)
