"""Rules for kinds of layers and operations, each found by what it is about."""

import inspect
from collections.abc import Callable
from typing import Any

import keras

# What layers compute with, where a parent sets it as an attribute.
WEIGHTS = {
    "bias",
    "depthwise_kernel",
    "embeddings",
    "kernel",
    "pointwise_kernel",
}
# What a subclass may say in its own way without computing anything else.
HARMLESS = {
    "add_weight",
    "build",
    "build_from_config",
    "compute_mask",
    "compute_output_shape",
    "compute_output_spec",
    "from_config",
    "get_build_config",
    "get_config",
    "inner_parts",
    "load_own_variables",
    "save_own_variables",
}


class Registry:
    """What a method knows of each kind of layer or operation.

    A rule is found along the class hierarchy: the nearest class that has one
    counts, unless a class nearer than it computes in another way. A layer
    whose class has none is looked up by its registered name.

    Args:
        name: what the decorator is called, for messages.
        protocol: optional name of a method by which a layer may state by
            itself what a rule would; the nearest class that has either counts.

    Attributes:
        rules: what is known, by class or name.
    """

    def __init__(self, name: str, protocol: str | None = None):
        self.name = name
        self.protocol = protocol
        self.rules: dict[Any, Any] = {}

    def rule(self, *kinds: Any) -> Callable:
        """A decorator that registers what it is put on as the rule.

        Args:
            *kinds: classes of layers; names of classes, `"Package>Name"` of
                those that are registered with Keras, `"package.Name"` of
                others; or names of functions of `keras.ops`, `"max_pool"`.

        Raises:
            TypeError: for anything else.
        """
        keys = [self._key(kind) for kind in kinds]

        def register(rule):
            self.rules.update(dict.fromkeys(keys, rule))
            return rule

        return register

    def _key(self, kind: Any) -> Any:
        if isinstance(kind, str) and kind:
            return kind if ">" in kind or "." in kind else plain(kind)
        if inspect.isclass(kind) and issubclass(kind, keras.layers.Layer):
            return kind
        raise TypeError(
            f"`{self.name}` takes classes of layers, such as "
            "keras.layers.Dense, names of registered classes, such as "
            "'my_package>MyLayer', or names of functions of keras.ops, such "
            f"as 'max_pool'. Received: {kind!r}"
        )

    def find(self, operation: Any) -> Any:
        """The rule for a layer or operation, `None` if there is none.

        With a `protocol`, what is found may be the name of that method.
        """
        if "call" in vars(operation):
            return None  # Its own, whatever its class says.
        if not isinstance(operation, keras.layers.Layer):
            return self.rules.get(plain(type(operation).__name__))
        for kind in type(operation).__mro__:
            rule = self._of(kind)
            if rule is not None:
                return None if overridden(type(operation), kind) else rule
        return None

    def _of(self, kind: type) -> Any:
        if kind in self.rules:
            return self.rules[kind]
        if self.protocol in vars(kind):
            return self.protocol
        return self.rules.get(name_of(kind))


def plain(name: str) -> str:
    """What a function of `keras.ops` and the class of its calls are both."""
    return name.replace("_", "").lower()


def name_of(kind: type) -> str:
    """The name by which a class may be meant.

    Keras knows a class that is not registered by its bare name, which two may
    have: it is told apart by the package that it comes from.
    """
    registered = keras.saving.get_registered_name(kind)
    package = kind.__module__.partition(".")[0]
    return registered if ">" in registered else f"{package}.{kind.__qualname__}"


def overridden(child: type, kind: type) -> bool:
    """Whether a class computes in another way than the parent `kind`.

    A rule for `kind` says nothing of it then.
    """
    line = child.__mro__[: child.__mro__.index(kind)]
    base = keras.layers.Layer.__mro__
    known = {n for part in kind.__mro__ if part not in base for n in vars(part)}
    for name in {name for part in line for name in vars(part)} - HARMLESS:
        code = any(
            callable(value) or hasattr(value, "__get__")
            for value in (vars(part).get(name) for part in line)
        )
        own = name in known and (not name.startswith("__"))
        if name == "__call__" or (code and (own or name in WEIGHTS)):
            return True
    return False
