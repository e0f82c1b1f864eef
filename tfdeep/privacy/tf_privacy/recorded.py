"""Classes of TF Privacy that remember their arguments, and so can be saved."""

import inspect

import keras
import tensorflow as tf


def recorded(theirs: type, name: str) -> type:
    """A subclass that adds `get_config` and is registered for loading.

    Args:
        theirs: a query of TF Privacy, or what a query takes as an argument.
        name: the name of the class, also the one it is registered under.
    """

    def __init__(self, *args, **kwargs):
        bound = inspect.signature(theirs.__init__).bind(self, *args, **kwargs)
        bound.apply_defaults()
        self._recorded = {
            name: value
            for name, value in bound.arguments.items()
            if name not in ("self", "args", "kwargs")
        }
        self._builder = None
        theirs.__init__(self, *args, **kwargs)

    def get_config(self):
        """The arguments that this was made from."""
        arguments = {k: _plain(v) for k, v in self._recorded.items()}
        if self._builder is None:
            return arguments
        return {"builder": self._builder, **arguments}

    def from_config(cls, config):
        """Make the same again."""
        config = {k: _restored(v) for k, v in config.items()}
        builder = config.pop("builder", None)
        return (
            cls(**config)
            if builder is None
            else getattr(cls, builder)(**config)
        )

    members = {
        "__init__": __init__,
        "__doc__": theirs.__doc__,
        "__module__": "tfdeep.privacy.tf_privacy",
        "get_config": get_config,
        "from_config": classmethod(from_config),
    }
    if hasattr(theirs, BUILDER):
        members[BUILDER] = classmethod(_recording(getattr(theirs, BUILDER)))
    cls = type(name, (theirs,), members)
    return keras.saving.register_keras_serializable("tfdeep", name)(cls)


BUILDER = "build_l2_gaussian_query"


def _recording(builder):
    """The class method of TF Privacy that makes a tree query."""

    def build_l2_gaussian_query(cls, *args, **kwargs):
        bound = inspect.signature(builder).bind(*args, **kwargs)
        bound.apply_defaults()
        made = builder.__func__(cls, *args, **kwargs)
        made._recorded, made._builder = dict(bound.arguments), BUILDER
        return made

    build_l2_gaussian_query.__doc__ = builder.__doc__
    return build_l2_gaussian_query


def _plain(value):
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, tf.TensorSpec):
        shape = [None if d is None else int(d) for d in value.shape]
        return {"spec": shape, "dtype": value.dtype.name}
    if callable(value) or hasattr(value, "get_config"):
        return keras.saving.serialize_keras_object(value)
    return value


def _restored(value):
    if isinstance(value, list):
        return [_restored(each) for each in value]
    if isinstance(value, dict) and "spec" in value:
        return tf.TensorSpec(value["spec"], value["dtype"])
    if isinstance(value, dict) and "class_name" in value:
        return keras.saving.deserialize_keras_object(value)
    return value


def arguments_of(query) -> dict:
    """The arguments that a query was made from, as far as they are known."""
    return getattr(query, "_recorded", {})


def builder_of(query) -> str | None:
    """The class method that made a query, if it was made by one."""
    return getattr(query, "_builder", None)


def seed_of(query) -> int | None:
    """The seed that somebody gave a query, for tests alone."""
    arguments = arguments_of(query)
    if "inner_query" in arguments:
        return seed_of(arguments["inner_query"])
    return arguments.get("noise_seed")
