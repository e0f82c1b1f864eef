"""Calls of a model that become one call when it is rewritten."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from tfdeep.graph.trace import Call, calls_between


@dataclass(eq=False)
class Section:
    """The calls between two tensors of a model, to become one call.

    Args:
        begin: the symbolic tensor that all of them depend on.
        end: the one that they make; nothing else takes what is between.
        make: function that is given a model of these calls, with the weights
            that they have, and returns the layer that is called on `begin` in
            their place; or that is given `None` if `end` is `begin`, where
            the layer is called in between.
    """

    begin: Any
    end: Any
    make: Callable[[keras.Model | None], Any]


class Sections:
    """Which calls are within a section, and which sections are being made.

    Args:
        sections: as of `rewrite`.
    """

    def __init__(self, sections: Iterable[Section]):
        self.behind: dict[int, Section] = {}  # By the `id` of its only tensor.
        self.within: dict[int, list] = {}  # By that of a tensor; inner first.
        self.opened: list[Section] = []
        sized = []
        for section in sections:
            if section.end is section.begin:
                self.behind[id(section.end)] = section
            else:
                calls = calls_between(section.begin, section.end)
                sized.append((len(calls), section, calls))
        for _, section, calls in sorted(sized, key=lambda each: each[0]):
            for call in calls:
                for tensor in call.outputs:
                    self.within.setdefault(id(tensor), []).append(section)

    def around(self, call: Call) -> Section | None:
        """The outermost section around a call that is not being made."""
        found = [
            section
            for section in self.within.get(id(call.outputs[0]), [])
            if not any(section is each for each in self.opened)
        ]
        return found[-1] if found else None

    def layer_behind(self, tensor: Any) -> Any:
        """The layer to call on a tensor, or `None`."""
        section = self.behind.get(id(tensor))
        return section.make(None) if section else None

    def form(self, section: Section) -> Any:
        """What sections have in common that are the same layers called alike.

        They become one model. One with a section in it is alone.
        """
        calls = calls_between(section.begin, section.end)
        number = {id(section.begin): 0}
        parts: list = []
        for call in calls:
            if self.within[id(call.outputs[0])][0] is not section:
                return id(section)
            arguments = tree.map_structure(
                lambda each: number.get(id(each), repr(each)),
                (call.args, call.kwargs),
            )
            parts.append((id(call.operation), repr(arguments)))
            for tensor in call.outputs:
                number[id(tensor)] = len(number)
        return tuple(parts)

    @contextlib.contextmanager
    def open(self, section: Section) -> Iterator[None]:
        """Make the calls of a section meanwhile."""
        self.opened.append(section)
        yield
        self.opened.pop()
