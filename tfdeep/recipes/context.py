"""What the runner hands to a recipe: settings, data, seeds and a notebook."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from tfdeep.recipes.interrupt import Interruption
from tfdeep.recipes.measure import Timer
from tfdeep.recipes.progress import RunProgress
from tfdeep.recipes.recipe import Recipe
from tfdeep.recipes.results import Results


class Context:
    """One recipe at one scale, on one data set, with its seeds.

    Args:
        recipe: the recipe.
        scale: name of one of the recipe's scales.
        data: name of the data set; that of the scale or the recipe if `None`.
        seed: integer, the first seed; further ones follow it.
        console: where to write; a new console if `None`.
        save: function called after every finished arm and seed.

    Attributes:
        settings: the scale's settings as attributes.
        seeds: tuple of integers.
        results: the `Results` recorded so far.
        only: name of the one arm that is run; all if `None`.
    """

    def __init__(
        self,
        recipe: Recipe,
        scale: str = "quick",
        data: str | None = None,
        seed: int = 0,
        console: Console | None = None,
        save: Callable[[], None] = lambda: None,
    ):
        chosen = recipe.scales[scale]
        self.terms = {
            "recipe": recipe,
            "scale": scale,
            "data": data,
            "seed": seed,
        }
        self.recipe = recipe
        self.scale = scale
        self.settings: Any = SimpleNamespace(**chosen.settings)
        self.data = data or chosen.data or recipe.data
        self.seeds = tuple(range(seed, seed + chosen.seeds))
        self.results = Results()
        self.only: str | None = None
        self.console = console or Console()
        self.progress = RunProgress(self.console, f"{recipe.name} ({scale})")
        self.interruption = Interruption()
        self.save = save

    @cached_property
    def info(self) -> Any:
        """What `tfdeep.data.info` says about the data set."""
        from tfdeep import data

        return data.info(self.data)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image: height, width, channels."""
        return tuple(self.info.shape)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.info.classes

    def arrays(self, split: str, limit: int | None = None) -> tuple[Any, Any]:
        """Return the images and labels of a split as NumPy arrays.

        Args:
            split: "train", "validation" or "test".
            limit: the largest number of examples to return, drawn once and
                for all; `None` for the whole split in its own order.
        """
        import numpy as np

        from tfdeep import data

        x, y = data.load(self.data, split, as_numpy=True, shuffle=False)
        if limit is None:
            return x, y
        drawn = np.random.default_rng(0).permutation(len(x))[:limit]
        return x[drawn], y[drawn]

    def arms(self) -> dict[str, Callable[[], Any]]:
        """The arms that are run, and the function that builds each."""
        every = self.recipe.arms(self)
        names = every if self.only is None else (self.only,)
        return {name: every[name] for name in names}

    def runs(self) -> Iterator[Run]:
        """Yield every arm with every seed, its model at its beginning.

        Each arm is built once; for a further seed the same model is reset, so
        that its training step is traced once.
        """
        arms = self.arms()
        self.progress.expect(len(arms) * len(self.seeds))
        for arm, build in arms.items():
            model = None
            for seed in self.seeds:
                self.interruption.check()
                self.progress.begin(arm, seed)
                model = started(model, seed, build)
                yield Run(self, arm, seed, model)
                self.progress.end()
                self.save()
            del model
            gc.collect()  # A deep model and its graphs refer to each other.

    def record(self, arm: str, seed: int, **metrics: float) -> None:
        """Keep measured numbers of an arm and seed under their names."""
        self.results.record(arm, seed, **metrics)

    def timer(self) -> Timer:
        """Return a context manager that measures wall and CPU seconds."""
        return Timer()

    def say(self, text: str) -> None:
        """Print a sentence for the reader of the run."""
        self.console.print(text)


class Run:
    """One arm with one seed: a model to train, and where to record.

    Args:
        context: the context it belongs to.
        arm: name of the arm.
        seed: integer, the seed that the model starts from.
        model: the compiled model.

    Attributes:
        timing: the `EpochTimer` of the last `fit`; its `wall` and `cpu` are
            mean seconds per epoch without the first epoch, which compiles.
    """

    def __init__(self, context: Context, arm: str, seed: int, model: Any):
        self.context = context
        self.arm = arm
        self.seed = seed
        self.model = model
        self.timing: Any = None

    def fit(self, *arrays: Any, callbacks: Any = (), **arguments: Any) -> dict:
        """Train with plain `model.fit`; keep its history and time.

        Args:
            *arrays: as for `keras.Model.fit`.
            callbacks: further Keras callbacks.
            **arguments: as for `keras.Model.fit`.

        Returns:
            The history: a list with one number per epoch for every key.
        """
        from tfdeep.recipes.callbacks import EpochTimer

        self.timing = EpochTimer()
        ours = [self.timing, self._progress()]
        fitted = self.model.fit(
            *arrays, verbose=0, callbacks=[*callbacks, *ours], **arguments
        )
        entry = self.context.results.entry(self.arm, self.seed)
        entry.extend(fitted.history)
        entry.extend({"wall_seconds": self.timing.wall_seconds})
        entry.extend({"cpu_seconds": self.timing.cpu_seconds})
        return fitted.history

    def evaluate(self, *arrays: Any, **arguments: Any) -> dict[str, float]:
        """Return `model.evaluate` as a dictionary, without a progress bar."""
        return self.model.evaluate(
            *arrays,
            verbose=0,
            return_dict=True,
            callbacks=[self._progress()],
            **arguments,
        )

    def record(self, **metrics: float) -> None:
        """Keep measured numbers of this arm and seed under their names."""
        self.context.record(self.arm, self.seed, **metrics)

    def _progress(self) -> Any:
        """Return a callback that shows progress and can be interrupted."""
        from tfdeep.recipes.callbacks import EpochProgress

        context = self.context
        return EpochProgress(context.progress.step, context.interruption.check)


def started(model: Any, seed: int, build: Callable[[], Any]) -> Any:
    """Return `model` at its beginning with `seed`, built if it is `None`."""
    import keras

    from tfdeep.recipes.reset import reset

    if model is not None:
        reset(model, seed, build)
        return model
    keras.utils.set_random_seed(seed)
    model = build()
    keras.utils.set_random_seed(seed)
    return model
