"""A model with other layers in the place of some."""

import inspect
import re
import warnings
from typing import Any

import keras

from tfdeep.checks import check_choice
from tfdeep.graph import Call, Edited, graph_of, rewrite
from tfdeep.graph.select import meant
from tfdeep.graph.trace import within
from tfdeep.inside import is_graph
from tfdeep.keras_internals import layers_of

WEIGHTS = ("match", "new")


def replace(
    model: keras.Model,
    replacements: dict[Any, Any],
    *,
    weights: str = "match",
) -> keras.Model:
    """A new model with other layers in the place of some.

    Use it to exchange an activation, a normalization or a kind of convolution
    in a model that somebody else wrote, before or after it is trained. All
    other layers are as they were, with their weights; a compiled model stays
    compiled, and its optimizer keeps what it knows of each weight that is
    still there. A layer that is called several times becomes one layer again,
    and what is frozen stays so.

    Args:
        model: a built model; models inside it are searched, too. It stays as
            it is.
        replacements: dictionary from what is replaced to what it becomes.

            A key is a class of layers, whose subclasses it means as well; a
            layer of the model; its name or path; or an `fnmatch` pattern of
            paths, such as `"block_*/conv"`. Of several keys that mean a layer
            the first counts.

            A value is a class of layers, which is made by `from_config` of
            the arguments that it shares with the old layer, its name among
            them; or a function that is given the old layer and returns a new
            one, or `None` to leave it.
        weights: `"match"` gives a new layer the weights of the old one that
            have the same name and shape, in their order where there are
            several; `"new"` leaves all its weights as they begin.

    Returns:
        A new model.

    Raises:
        TypeError: if a key or a value is of another kind, or a class cannot
            be made from the arguments that it shares.
        ValueError: if a key means no layer that the model calls, or a model
            within it; or if the model cannot be rewritten, see
            `tfdeep.graph.rewrite`.

    Layers within layers that are no models are left as they are, of which a
    warning tells where a class means them.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((4, 4, 6))])
        >>> model.add(keras.layers.Conv2D(8, 3, name="low"))
        >>> model.add(keras.layers.ReLU(name="relu"))
        >>> new = tfdeep.models.replace(
        ...     model,
        ...     {
        ...         keras.layers.ReLU: lambda layer: keras.layers.ELU(),
        ...         "lo*": tfdeep.layers.WeightStandardizedConv2D,
        ...     },
        ... )
        >>> [type(layer).__name__ for layer in new.layers]
        ['WeightStandardizedConv2D', 'ELU']
        >>> new.layers[0].name, new.layers[0].kernel_size
        ('low', (3, 3))
    """
    check_choice("weights", weights, WEIGHTS)
    _check(replacements)
    chosen = _chosen(model, replacements)
    return rewrite(model, _Replacing(chosen, weights == "match"))


def _check(replacements: Any) -> None:
    if not isinstance(replacements, dict) or not replacements:
        raise TypeError(
            "`replacements` must be a dictionary from layers to what they "
            "become, such as {keras.layers.ReLU: keras.layers.PReLU}. "
            f"Received: replacements={replacements!r}"
        )
    for key, value in replacements.items():
        if inspect.isclass(key) and not issubclass(key, keras.Layer):
            raise TypeError(
                "`replacements` must have classes of layers, layers, or "
                f"patterns as keys. Received: {key!r}"
            )
        if (
            not callable(value)
            or isinstance(value, keras.Layer)
            or (inspect.isclass(value) and not issubclass(value, keras.Layer))
        ):
            raise TypeError(
                "`replacements` must have classes of layers, or functions of "
                "a layer that return one, as values. Received: "
                f"{value!r} for {key!r}. Write `lambda layer: ...` for a layer "
                "of your own settings"
            )


def _chosen(model: keras.Model, replacements: dict) -> dict[int, Any]:
    """What each layer becomes, by the `id` of the layer."""
    calls = graph_of(model).calls
    found: dict[int, Any] = {}
    for key, value in replacements.items():
        for call in _meant(calls, key):
            found.setdefault(id(call.operation), value)
    return found


def _meant(calls: list[Call], key: Any) -> list[Call]:
    """The calls of layers that are no models, and that a key means."""
    if not inspect.isclass(key):
        found = meant(calls, key)
        leaves = [call for call in found if _is_leaf(call)]
        if not leaves:
            raise ValueError(
                "`replacements` must name layers, not a model that they are "
                f"in nor an operation. Received: {key!r}. Of a model name "
                "those within, such as 'model/*'"
            )
        return leaves
    every = [call for call in within(calls) if _is_leaf(call)]
    found = [call for call in every if isinstance(call.operation, key)]
    left = {
        call.operation.name: None
        for call in every
        if call not in found
        for part in layers_of(call.operation)[1:]
        if isinstance(part, key)
    }
    if not found:
        hint = f": there are some within {', '.join(left)}" if left else ""
        raise ValueError(
            "`replacements` must have classes of layers that the model calls. "
            f"Received: {key.__name__}, of which it calls none{hint}"
        )
    if left:
        warnings.warn(
            f"Layers of class {key.__name__} within other layers are left as "
            f"they are: those in {', '.join(left)}.",
            stacklevel=4,
        )
    return found


def _is_leaf(call: Call) -> bool:
    """Whether it is a layer that no further calls are known of."""
    operation = call.operation
    return isinstance(operation, keras.Layer) and not is_graph(operation)


class _Replacing:
    """The edit that calls new layers in the place of some.

    Args:
        chosen: what each layer becomes, by its `id`.
        match: boolean, whether weights are those of the old layer.
    """

    def __init__(self, chosen: dict[int, Any], match: bool):
        self.chosen = chosen
        self.match = match
        self.made: dict[int, Any] = {}  # By the `id` of the old layer.

    def __call__(self, call: Call, args: tuple, kwargs: dict):
        layer = call.operation
        if id(layer) not in self.chosen:
            return None
        if id(layer) not in self.made:
            self.made[id(layer)] = _made(self.chosen[id(layer)], layer)
        new = self.made[id(layer)]
        if new is None:
            return None
        outputs = new(*args, **_taken(new, kwargs))
        pairs = _matching(layer, new)
        if not layer.trainable:
            new.trainable = False
        for target, source in pairs if self.match else ():
            if not source.trainable and target.trainable:
                target.trainable = False
        return Edited(outputs, pairs if self.match else [])


def _made(value: Any, layer: keras.Layer):
    """The new layer, or `None` if the old one stays."""
    if inspect.isclass(value):
        return _of_class(value, layer)
    new = value(layer)
    if new is layer or new is None:
        return None
    if not isinstance(new, keras.Layer):
        raise TypeError(
            "`replacements` must have functions that return a layer, or None "
            f"to leave it. Received: {new!r} for {layer.name!r}"
        )
    return new


def _of_class(cls: Any, layer: keras.Layer) -> keras.Layer:
    """A layer of another class with the arguments that both have."""
    taken = _arguments(cls)
    config = {k: v for k, v in layer.get_config().items() if k in taken}
    try:
        return cls.from_config(config)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"`replacements` must give {layer.name!r} a class that can be made "
            f"from the arguments that it shares with "
            f"{type(layer).__name__}: {', '.join(config)}. Received: "
            f"{cls.__name__} ({str(error).strip().splitlines()[0]}). Give a "
            "function of the layer that makes the new one"
        ) from error


def _arguments(cls: Any) -> set[str]:
    """The arguments of a class, with those that it hands on to its base."""
    found: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(
            vars(base)["__init__"]
        ).parameters.values()
        found.update(p.name for p in parameters)
        if base is keras.Layer or all(
            p.kind != p.VAR_KEYWORD for p in parameters
        ):
            break
    return found - {"self", "args", "kwargs"}


def _taken(layer: keras.Layer, kwargs: dict) -> dict:
    """The arguments of a call, without those that say nothing to a layer."""
    parameters = inspect.signature(layer.call).parameters
    return {
        name: value
        for name, value in kwargs.items()
        if name in parameters
        or not (value is None or name in ("training", "mask"))
    }


def _matching(old: keras.Layer, new: keras.Layer) -> list[tuple]:
    """Pairs of new and old weights of equal name and shape."""
    waiting: dict[tuple, list] = {}
    for weight in old.weights:
        waiting.setdefault(_kind(weight, old), []).append(weight)
    pairs = []
    for weight in new.weights:
        same = waiting.get(_kind(weight, new))
        if same:
            pairs.append((weight, same.pop(0)))
    return pairs


def _kind(weight: keras.Variable, layer: keras.Layer) -> tuple:
    """Shape and name of a weight, without the numbers of parts' names."""
    path = weight.path.split("/")
    if layer.name in path:  # A model around it may have its name.
        path = path[len(path) - path[::-1].index(layer.name) :]
    parts = [re.sub(r"_\d+$", "", part) for part in path[:-1]]
    return (*parts, path[-1], tuple(weight.shape))
