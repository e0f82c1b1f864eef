"""Models of which only the shapes are wanted."""

import keras


def symbolic(build, *args, **kwargs):
    """A model whose weights have shapes and no values: nothing is allocated.

    The largest network of the papers would take most of a second and half a
    gigabyte otherwise.
    """
    with keras.StatelessScope(initialize_variables=False):
        return build(*args, **kwargs)
