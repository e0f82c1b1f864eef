"""Which layers each loss reaches: segments of a model's steps."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from keras import tree

from tfdeep.graph.program import Program
from tfdeep.graph.select import named
from tfdeep.graph.trace import Call

OUTPUT = "output"


@dataclass(frozen=True)
class Segment:
    """The steps that a loss reaches.

    Args:
        loss: the path of its layer, or "output".
        first: number of the first step that it reaches.
        last: number of the step whose output it looks at.
    """

    loss: str
    first: int
    last: int


def places(program: Program, paths: Iterable[str]) -> dict[str, int]:
    """The step that each loss looks at, from the lowest to the output's."""
    made = {
        slot: number
        for number, step in enumerate(program.steps)
        for slot in step.outputs
    }
    found = {path: made[program.slot_of[path]] for path in paths}
    ordered = dict(sorted(found.items(), key=lambda item: item[1]))
    return {**ordered, OUTPUT: len(program.steps) - 1}


def everywhere(program: Program, paths: Iterable[str]) -> list[Segment]:
    """Each loss reaches all layers below it."""
    return [Segment(p, 0, at) for p, at in places(program, paths).items()]


def overlapping(
    program: Program, paths: Iterable[str], overlap: int
) -> list[Segment]:
    """Each loss reaches down to the one below and `overlap` layers further.

    Layers with a kernel are counted: weights of two axes or more. Those that
    only scale or shift belong to the layer before them.
    """
    kernels = [
        number
        for number, step in enumerate(program.steps)
        if any(len(weight.shape) > 1 for weight in step.weights)
    ]
    found, first = [], 0
    for path, last in places(program, paths).items():
        found.append(Segment(path, first, last))
        below = [number for number in kernels if number <= last]
        first = last + 1
        if overlap:
            first = below[-overlap] if overlap <= len(below) else 0
    return found


def given(
    program: Program,
    calls: list[Call],
    paths: Iterable[str],
    segments: dict[str, tuple[str, str]],
) -> list[Segment]:
    """Segments by the names of their first and last layers.

    Raises:
        TypeError: if a segment is no pair of names.
        ValueError: if a loss is unknown or has no segment, or a segment does
            not end at the layer its loss looks at.
    """
    known = places(program, paths)
    wanted = {_loss(known, name): pair for name, pair in segments.items()}
    missing = [loss for loss in known if loss not in wanted]
    if missing:
        raise ValueError(
            f"`segments` must have an entry for each of {list(known)}. "
            f"Received: none for {missing}. Add the pair of its first and "
            "last layer."
        )
    found = []
    for loss, last in known.items():
        low, high = (program.span[c.path] for c in _pair(calls, wanted, loss))
        if not high[0] <= last <= high[1] or low[0] > last:
            raise ValueError(
                f"The segment of {loss!r} must end at "
                f"{program.steps[last].path!r}, whose output the loss looks "
                "at, and begin there or before. Received: "
                f"{tuple(wanted[loss])}. Change it, or put the head elsewhere."
            )
        found.append(Segment(loss, low[0], last))
    return found


def _loss(known: dict[str, int], name: str) -> str:
    """The loss that a name means, as the name of a layer does."""
    plain = str(name).removesuffix("#1")
    found = [p for p in known if p == plain or p.endswith(f"/{plain}")]
    if len(found) != 1:
        (near,) = difflib.get_close_matches(plain, known, 1, 0.0)
        raise ValueError(
            f"`segments` must name the losses {list(known)}. Received: "
            f"{name!r}. Did you mean {near!r}?"
        )
    return found[0]


def _pair(calls: list[Call], wanted: dict, loss: str) -> list[Call]:
    pair = wanted[loss]
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise TypeError(
            f"The segment of {loss!r} must be the names of its first and its "
            f"last layer. Received: {pair!r}. Pass a pair of them."
        )
    return [call for name in pair for call in named(calls, name)]


@dataclass(frozen=True)
class Reached:
    """What the segments of a model come to.

    Args:
        program: the steps of the model.
        segments: one for each loss, from the lowest to the output's.
    """

    program: Program
    segments: list[Segment]

    def steps(self, segment: Segment) -> set[int]:
        """The steps that a loss reaches: in its segment, and behind it."""
        behind = self._behind(segment)
        return {n for n in behind if n >= segment.first}

    def _behind(self, segment: Segment) -> set[int]:
        program = self.program
        slots = program.steps[segment.last].outputs
        if segment.loss == OUTPUT:
            slots = tree.flatten(program.outputs)
        return program.behind(slots)

    def check(self) -> None:
        """Raise if a layer is reached by none, or by a part of its calls.

        Raises:
            ValueError: for these, or if the output's loss reaches further
                down than another.
        """
        self._check_order()
        for segment in self.segments:
            self._check_shared(segment)
        reached = set().union(*(self.steps(each) for each in self.segments))
        moving = {
            id(weight) for number in reached for weight in self._at(number)
        }
        lost = [
            step.path
            for step in self.program.steps
            if any(id(weight) not in moving for weight in step.weights)
        ]
        if lost:
            raise ValueError(
                "Every trainable layer must be in a segment. Received: a "
                f"gap: the layers {lost} get no gradient. Let neighbours "
                "meet, or set `trainable = False` on the layers."
            )

    def _at(self, number: int) -> list:
        return self.program.steps[number].weights

    def _check_order(self) -> None:
        *heads, output = self.segments
        for head in heads:
            if head.first > output.first:
                raise ValueError(
                    f"The segment of {OUTPUT!r} must begin above all others: "
                    "what lies lower is handed to the heads. Received: a "
                    f"first layer below that of {head.loss!r}. Begin it "
                    "higher, or use DeepSupervision."
                )

    def _check_shared(self, segment: Segment) -> None:
        """A loss cannot reach one call of a layer, and not another."""
        users: dict[int, list[int]] = {}
        for number in sorted(self._behind(segment)):
            for weight in self._at(number):
                users.setdefault(id(weight), []).append(number)
        for numbers in users.values():
            if numbers[0] < segment.first <= numbers[-1]:
                low, high = (
                    self.program.steps[n].path
                    for n in (numbers[0], numbers[-1])
                )
                raise ValueError(
                    "Calls that share weights must be in one segment: a "
                    "weight is reached by a loss or it is not. Received: the "
                    f"segment of {segment.loss!r}, which begins between "
                    f"{high!r} and {low!r}. Move the segments so that both "
                    "calls are in one."
                )

    def cuts(self) -> tuple[int, ...]:
        """The steps before which gradients stop: segments begin there."""
        first = {segment.first for segment in self.segments}
        trained = [n for n in range(len(self.program.steps)) if self._at(n)]
        return tuple(sorted(n for n in first if trained and n > trained[0]))
