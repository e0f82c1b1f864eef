"""One function on each example of a batch, as one program where that is safe."""

import keras
from keras import ops, tree

from tfdeep import backend

FEW = (1, 2, 3)  # To trace a program for these would take longer.


def map_examples(function, examples, one_by_one: bool = False):
    """What a function returns for each example, stacked.

    Args:
        function: of one example, a nested structure of tensors.
        examples: the structure, with examples along the first axis.
        one_by_one: whether to take one after the other in any case.
    """
    function = backend.as_written(function)
    count = tree.flatten(examples)[0].shape[0]
    if count == 1 or (count in FEW and backend.runs_eagerly()):
        found = [
            function(tree.map_structure(lambda t, i=i: t[i], examples))
            for i in range(count)
        ]
        return tree.map_structure(lambda *t: ops.stack(t), *found)
    if one_by_one or not backend.maps_safely(function, examples):
        return ops.map(function, examples)
    return ops.vectorized_map(function, examples)


def way_of_mapping(one_by_one: bool) -> str:
    """How `map_examples` takes the examples, in words.

    Whether TensorFlow can map a function is known when it is traced.
    """
    if one_by_one:
        return "one after the other"
    if keras.backend.backend() == "tensorflow":
        return "vectorised where that is safe"
    return "vectorised"
