"""How many nonlinear units a trained net needs, and when they are taken."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

DENSE, EARLY, LATE, PLAIN = "all units", "early", "late", "plain"
EASY = "easy task, "


def net(shape, classes, depth, width, pool):
    """A chain of convolutions, each normalised before its ReLU.

    Pooling before the first one makes the images small, for time's sake.
    """
    import keras

    parts = [keras.Input(shape), keras.layers.AveragePooling2D(pool)]
    for _ in range(depth):
        parts += [
            keras.layers.Conv2D(
                width,
                3,
                padding="same",
                use_bias=False,
                kernel_initializer="he_normal",
            ),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
        ]
    parts.append(keras.layers.GlobalAveragePooling2D())
    parts.append(keras.layers.Dense(classes, "softmax"))
    return keras.Sequential(parts)


def parameters(shape, classes, depth, width):
    """The number of trained parameters of such a net."""
    kernels = 9 * (shape[-1] + (depth - 1) * width) * width
    return kernels + 2 * depth * width + (width + 1) * classes


def width_of(shape, classes, depth, wanted):
    """The width at which a net of a depth has about so many parameters."""
    widths = range(1, wanted // 10 + 2)
    return min(
        widths,
        key=lambda w: abs(parameters(shape, classes, depth, w) - wanted),
    )


def when(context, arm):
    """The first epoch of the penalty, and the first after it."""
    settings = context.settings
    begun = settings.late_start if LATE in arm else 0.0
    start = int(begun * settings.epochs)
    return start, max(start + 1, start + int(settings.phase * settings.epochs))


def title(when_, strength):
    return f"{when_}, strength {strength:g}"


def strength_of(arm):
    return float(arm.rpartition(" ")[2])


def is_linearized(arm):
    return "strength" in arm


def arms(context):
    from tfdeep.linearization import linearize
    from tfdeep.recipes.training import compiled

    settings = context.settings
    sizes = (context.shape, context.classes)

    def build(arm, depth, width):
        model = net(*sizes, depth, width, settings.pool)
        if is_linearized(arm):
            model = linearize(model)
        return compiled(context, model)

    whole = (settings.depth, settings.width)
    wanted = parameters(*sizes, *whole)
    found = {DENSE: whole}
    for depth in settings.plain_depths:
        shape = (depth, width_of(*sizes, depth, wanted))
        found[f"{PLAIN}, depth {depth}"] = shape
    for strength in settings.strengths:
        for each in (EARLY, LATE):
            found[title(each, strength)] = whole
    for each in (EARLY, LATE):
        found[EASY + title(each, settings.easy_strength)] = whole
    return {arm: partial(build, arm, *size) for arm, size in found.items()}


def of_task(arm, images, labels):
    """Of the easy task the classes 0 and 1 alone."""
    if not arm.startswith(EASY):
        return images, labels
    chosen = labels < 2
    return images[chosen], labels[chosen]


def run(context):
    from tfdeep.callbacks import LinearizationScheduler
    from tfdeep.linearization import path_length
    from tfdeep.recipes.training import test_arrays, train_arrays

    settings = context.settings
    for run in context.runs():
        callbacks = []
        if is_linearized(run.arm):
            start, stop = when(context, run.arm)
            strength = strength_of(run.arm)
            callbacks.append(LinearizationScheduler(start, stop, strength))
        seen = of_task(run.arm, *train_arrays(context))
        unseen = of_task(run.arm, *test_arrays(context))
        # As many steps for the easy task, or the penalty would be weaker.
        share = len(seen[1]) / len(train_arrays(context)[1])
        run.fit(
            *seen,
            batch_size=max(1, round(share * settings.batch_size)),
            epochs=settings.epochs,
            callbacks=callbacks,
        )
        found = path_length(run.model)
        run.record(
            test_error=1 - run.evaluate(*unseen, batch_size=512)["accuracy"],
            train_error=1 - run.evaluate(*seen, batch_size=512)["accuracy"],
            path_length=float(found),
            active_share=found.active / found.units,
            parameters=run.model.count_params(),
        )


def points(results, *begins):
    """Path length and error of each run of some arms, by seed."""
    found = {}
    for arm in results.arms:
        if arm.startswith(begins):
            lengths = results.by_seed(arm, "path_length")
            errors = results.by_seed(arm, "test_error")
            for seed, length in lengths.items():
                found.setdefault(seed, []).append((length, errors[seed]))
    return found


def lower_at_equal_length(results, begins):
    """How much lower the errors of late nets are than those of others.

    Between the path lengths of these their error is taken to be straight; the
    mean over the strengths, for each seed.
    """
    import numpy as np

    from tfdeep.recipes.results import Spread

    late, gaps = points(results, LATE), []
    for seed, others in points(results, begins, DENSE).items():
        lengths, errors = np.array(sorted(others)).T
        met, found = np.array(late[seed]).T
        gaps.append(float(np.mean(np.interp(met, lengths, errors) - found)))
    return Spread(tuple(gaps))


def shallow(results):
    """The late net of the least error has half of the depth, and little loss."""
    late = [arm for arm in results.arms if arm.startswith(LATE)]
    whole = results.spread(DENSE, "path_length").mean
    shallow_ = [
        arm
        for arm in late
        if results.spread(arm, "path_length").mean <= whole / 2
    ]
    if not shallow_:
        return Verdict(False, "no net has half of the path length")
    best = min(shallow_, key=lambda a: results.spread(a, "test_error").mean)
    loss = results.difference(best, DENSE, "test_error")
    length = results.spread(best, "path_length")
    return Verdict(
        loss.mean < 0.02,
        f"path length {whole:.3g} to {length}, test error higher by {loss}",
    )


def late_beats_early(results):
    gap = lower_at_equal_length(results, EARLY)
    return Verdict(
        gap.clear, f"test error at equal path length, lower by {gap}"
    )


def vanishes(results):
    early, late = (
        next(arm for arm in results.arms if arm.startswith(EASY + each))
        for each in (EARLY, LATE)
    )
    gap = results.difference(early, late, "test_error")
    return Verdict(gap.mean < 0.005, f"test error, lower by {gap}")


def beats_plain(results):
    gap = lower_at_equal_length(results, PLAIN)
    return Verdict(gap.clear, f"test error at equal depth, lower by {gap}")


def pictures(results):
    """Accuracy by path length, and the units that are left in one net."""
    import numpy as np

    from tfdeep.visualization import accuracy_by_path_length, heat_map

    groups = {
        begins: [
            (length, 1 - error)
            for each in points(results, begins, DENSE).values()
            for length, error in each
        ]
        for begins in (LATE, EARLY, PLAIN)
    }
    maps = {}
    for arm in results.arms:
        if is_linearized(arm) and not arm.startswith(EASY):
            seed = next(iter(results.by_seed(arm, "path_length")))
            history = results.entry(arm, seed).history
            keys = [key for key in history if key.startswith("active_units/")]
            maps[arm] = np.array([history[key] for key in keys]).T
    middle = len(maps) // 4 * 2
    chosen = dict(list(maps.items())[middle : middle + 2])
    return {
        "accuracy-by-path-length.png": accuracy_by_path_length(
            groups, "nets of equal numbers of parameters"
        ),
        "active-units.png": heat_map(chosen, "active units"),
    }


def scale(about, data=None, seeds=3, **settings):
    # Chosen on the validation images, which nothing here trains on.
    defaults = {
        "depth": 6,
        "width": 12,
        "pool": 4,
        "plain_depths": (1, 2, 3),
        "strengths": (0.03, 0.04, 0.06),
        "easy_strength": 0.04,
        "epochs": 20,
        "phase": 0.25,
        "late_start": 0.25,
        "batch_size": 128,
        "learning_rate": 0.05,
        "drops": (0.75,),
        "steps_per_execution": 28,
    }
    return Scale(about, {**defaults, **settings}, data=data, seeds=seeds)


RECIPE = Recipe(
    name="linearization",
    title="Nets made linear in part, early and late",
    paper="Mehmeti-Goepel and Disselhoff 2023, arXiv:2211.17180",
    claims=(
        Claim(
            "shallow at little loss",
            "Half of the average path length costs less than 0.02 of test "
            "error.",
            "surprisingly shallow nets at a moderate loss",
            shallow,
        ),
        Claim(
            "late beats early",
            "At equal path length nets that are made linear after training "
            "have a lower test error than those from the start.",
            "the nonlinear advantage",
            late_beats_early,
        ),
        Claim(
            "vanishes on an easy task",
            "To tell 0 and 1 apart early is as good as late.",
            "the gap depends on the difficulty of the task",
            vanishes,
        ),
        Claim(
            "beats plain nets",
            "Nets of equal depth and numbers of parameters that were plain "
            "from the start have a higher test error.",
            "better than baselines of similar depth, by width at equal size",
            beats_plain,
        ),
    ),
    data="mnist5k",
    scales={
        "quick": scale("5 minutes of CPU time"),
        "full": scale(
            "an hour on 2 cores",
            "fashion_mnist",
            depth=8,
            width=16,
            plain_depths=(2, 4),
            # Its epochs have more steps, in each of which the penalty pulls.
            strengths=(0.005, 0.01, 0.02),
            easy_strength=0.01,
            epochs=8,
        ),
        "paper": scale(
            "a day on one GPU",
            "cifar10",
            seeds=1,
            depth=16,
            width=64,
            pool=1,
            plain_depths=(2, 4, 8),
            epochs=100,
        ),
    },
    arms=arms,
    run=run,
    curves=("accuracy",),
    metrics=("test_error", "path_length"),
    pictures=pictures,
    independent=True,
)
