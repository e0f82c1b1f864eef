"""One function on each example of a batch, as one program where that is safe."""

from keras import ops, tree

from tfdeep import backend


def map_examples(function, examples, one_by_one: bool = False):
    """What a function returns for each example, stacked.

    Args:
        function: of one example, a nested structure of tensors.
        examples: the structure, with examples along the first axis.
        one_by_one: whether to take one after the other in any case.
    """
    function = backend.as_written(function)
    if tree.flatten(examples)[0].shape[0] == 1:
        alone = function(tree.map_structure(lambda t: t[0], examples))
        return tree.map_structure(lambda t: ops.expand_dims(t, 0), alone)
    if one_by_one or not backend.maps_safely(function, examples):
        return ops.map(function, examples)
    return ops.vectorized_map(function, examples)
