"""What a recipe is: a paper's claim, the models that show it, the measure.

A whole recipe reads like this::

    def arms(context):
        net = partial(build, context)  # returns a compiled model
        return {"plain": partial(net, "none"), "residual": partial(net, "A")}

    def run(context):
        train, test = context.arrays("train"), context.arrays("test")
        for run in context.runs():  # every arm with every seed
            run.fit(*train, epochs=context.settings.epochs,
                    validation_data=test)
            run.record(test_error=1 - run.evaluate(*test)["accuracy"])

    def judge(results):
        gain = results.difference("plain", "residual", "test_error")
        return Verdict(gain.mean > 0, f"lower by {gain}")

    RECIPE = Recipe(name="residual", claims=(Claim(..., judge=judge),), ...)

Modules of recipes import Keras, models and data inside their functions, so
that listing the recipes stays fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfdeep.recipes.context import Context
    from tfdeep.recipes.results import Results


@dataclass(frozen=True)
class Verdict:
    """Whether a claim held, with the measured figures in words.

    Args:
        held: whether the measured figures bear the claim out.
        measured: the figures, short enough for a table's cell.
    """

    held: bool
    measured: str


@dataclass(frozen=True)
class Claim:
    """One statement of a paper, and the function that judges it.

    Args:
        name: a few words, unique in its recipe.
        statement: what should hold, in one sentence.
        paper: the paper's own figure and where it stands.
        judge: function from the `Results` of a complete run to a `Verdict`.
    """

    name: str
    statement: str
    paper: str
    judge: Callable[[Results], Verdict]


@dataclass(frozen=True)
class Scale:
    """One size of a recipe.

    Args:
        about: how long it takes on what, such as "2 minutes on 2 cores".
        settings: the recipe's own settings; `context.settings.epochs` reads
            the entry `epochs`.
        data: name of the data set, if not the recipe's.
        seeds: how many seeds each arm is trained with.
    """

    about: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = None
    seeds: int = 3


@dataclass(frozen=True)
class Recipe:
    """A paper's claim as a run.

    Args:
        name: the name on the command line.
        title: one line that says what is compared.
        paper: authors, year and arXiv number.
        claims: what the run shows, each with its judge.
        data: name of the data set, as `tfdeep.data.load` knows it.
        scales: the sizes by name: "quick", "full" and "paper".
        arms: function from the context to the compared models: a dictionary
            from a name to a function without arguments that returns a new,
            compiled model. Leave seeds inside the model at `None`; the
            runner seeds every run.
        run: function that trains and records, given the context.
        curves: keys of the training history that are plotted per epoch.
        metrics: recorded metrics that are compared in a plot; all if empty.
        pictures: function from the `Results` of a complete run to further
            figures, by file name.
        independent: boolean, whether arms may be trained side by side: `run`
            does nothing but loop over `context.runs()`, no arm needs another
            one's results, and no claim compares their times.
    """

    name: str
    title: str
    paper: str
    claims: tuple[Claim, ...]
    data: str
    scales: Mapping[str, Scale]
    arms: Callable[[Context], Mapping[str, Callable[[], Any]]]
    run: Callable[[Context], None]
    curves: tuple[str, ...] = ("val_accuracy",)
    metrics: tuple[str, ...] = ()
    pictures: Callable[[Results], Mapping[str, Any]] | None = None
    independent: bool = False
