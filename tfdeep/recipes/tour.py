"""The tour: a deep plain net fails, residual ones train, also smaller.

The net that skips is trained for as long as the residual one, and sees the data
more often in that time. How long a step of each takes is measured in turn, in one
process.

The trained residual net is made smaller: 30 % of the channels of each layer go,
those of the smallest weights, and it is fine-tuned for a few epochs.

The plain net without normalization does not train at all from Keras' default
start, and does from AutoInit's. Momentum SGD at the others' rate is not for
it: both of these train with Adam. The last net is small and trains with
differential privacy, on all images: its guarantee is the better the more there
are.
"""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

PLAIN, RESIDUAL, SKIPPING = "plain", "residual", "residual + StochasticDepth"
BARE, STARTED = "plain, no BN", "plain, no BN + AutoInit"
SMALLER, PRIVATE = "residual, smaller", "small, private"
DELTA = 1e-5
MARGIN = 0.03  # Of the test error. In hundreds of epochs skipping gains it.
STEPS = 8  # Of a turn in which the time of a step is measured.


def arms(context):
    from tfdeep.models import ResNet
    from tfdeep.recipes.training import compiled, input_options

    def build(shortcut, last, epochs=context.settings.epochs):
        net = ResNet(
            context.settings.depth,
            shortcut=shortcut,
            survival_probability=last,
            **input_options(context),
        )
        return compiled(context, net, epochs=epochs)

    def build_bare():
        import keras

        from tfdeep.recipes.nets import plain_net

        net = plain_net(
            context.shape, context.classes, context.settings.depth - 1, 16
        )
        return compiled(context, net, keras.optimizers.Adam(1e-3))

    return {
        PLAIN: partial(build, "none", 1.0),
        RESIDUAL: partial(build, "A", 1.0),
        SKIPPING: partial(build, "A", 0.5, context.settings.skipping_epochs),
        BARE: build_bare,
        STARTED: build_bare,
        PRIVATE: partial(build_private, context),
    }


def build_private(context):
    """A small net with a budget of privacy, and its pieces of De et al."""
    import keras

    from tfdeep import privacy
    from tfdeep.recipes.private_nets import small_net

    settings = context.settings
    # Where it is known, large data need not be read for a plan.
    examples = settings.examples or len(context.arrays("train")[1])
    batch = min(256, examples)
    model = privacy.PrivateModel(
        small_net(context.shape, context.classes, (8, 16)),
        privacy.Plan(
            examples,
            batch,
            max(1, settings.private_epochs * examples // batch),
            DELTA,
            epsilon=settings.epsilon,
        ),
        privacy.FlatClipping(1.0, rescaled=True),
    )
    model.compile(
        keras.optimizers.SGD(settings.private_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def train_private(run):
    """Train on samples as the plan assumes them."""
    from tfdeep.privacy import poisson_batches
    from tfdeep.recipes.training import test_arrays

    plan = run.model.plan
    batches = poisson_batches(*run.context.arrays("train"), plan)
    run.fit(batches, epochs=plan.epochs)
    unseen = run.evaluate(*test_arrays(run.context), batch_size=512)
    run.record(
        test_error=1 - unseen["accuracy"],
        epoch_cpu_seconds=run.timing.cpu,
        spent_epsilon=run.model.epsilon(),
    )


def run(context):
    from tfdeep import AutoInit
    from tfdeep.recipes.training import train, train_arrays

    depth, data = context.settings.depth, train_arrays(context)
    context.say(
        f"Nets of {depth} layers on {len(data[0])} images of {context.data}. "
        "What differs is how the signal passes a block, or how it starts."
    )
    residual = {}
    for run in context.runs():
        if run.arm == STARTED:
            init = AutoInit.from_data(data[0], seed=run.seed)
            init.initialize_model(run.model)
        if run.arm == PRIVATE:
            train_private(run)
            continue
        epochs = context.settings.epochs
        if run.arm == SKIPPING:
            epochs = context.settings.skipping_epochs
        train(run, epochs=epochs, batch_size=context.settings.batch_size)
        if run.arm in (RESIDUAL, SKIPPING):
            run.record(epochs=epochs)
        if run.arm == RESIDUAL:
            residual[run.seed] = run.model
            make_smaller(context, run.seed, run.model)
        if run.arm == SKIPPING:
            measure_steps(context, run.seed, residual.pop(run.seed), run.model)


def make_smaller(context, seed, model):
    """Prune and fine-tune the net; record its error, and the time of both."""
    from tfdeep.pruning import prune
    from tfdeep.recipes.context import Run
    from tfdeep.recipes.measure import cpu_in_turn
    from tfdeep.recipes.training import compiled, test_arrays, train_arrays

    settings, test = context.settings, test_arrays(context)
    small = prune(model, settings.ratio, scope="local")
    tune = {"epochs": settings.tune_epochs, "learning_rate": settings.tune_rate}
    run = Run(context, SMALLER, seed, compiled(context, small, **tune))
    run.fit(
        *train_arrays(context),
        epochs=settings.tune_epochs,
        batch_size=settings.batch_size,
    )
    unseen = run.evaluate(*test, batch_size=512)
    run.record(
        test_error=1 - unseen["accuracy"], epoch_cpu_seconds=run.timing.cpu
    )
    calls = {
        arm: partial(each.predict_on_batch, test[0][:64])
        for arm, each in ((RESIDUAL, model), (SMALLER, small))
    }
    seconds = cpu_in_turn(calls, settings.turns)
    for arm, each in ((RESIDUAL, model), (SMALLER, small)):
        context.record(
            *(arm, seed),
            pass_cpu_seconds=seconds[arm],
            parameters=each.count_params(),
        )


def measure_steps(context, seed, residual, skipping):
    """Record the CPU seconds of some steps of both nets, taken in turn.

    A turn is several steps, of which each skips other blocks.
    """
    from tfdeep.recipes.measure import cpu_in_turn
    from tfdeep.recipes.training import train_arrays

    size = context.settings.batch_size
    x, y = (each[: STEPS * size] for each in train_arrays(context))

    def steps_of(model):
        return partial(model.fit, x, y, batch_size=size, verbose=0)

    calls = {RESIDUAL: steps_of(residual), SKIPPING: steps_of(skipping)}
    for arm, seconds in cpu_in_turn(calls, context.settings.turns).items():
        context.record(arm, seed, turn_cpu_seconds=seconds)


def errors(results, *arms):
    return [results.spread(arm, "test_error") for arm in arms]


def plain_fails(results):
    plain, residual = errors(results, PLAIN, RESIDUAL)
    return Verdict(
        residual.mean < plain.mean / 2,
        f"test error: plain {plain}, residual {residual}",
    )


def smaller_is_faster(results):
    whole, small = errors(results, RESIDUAL, SMALLER)
    left, time = (
        results.spread(SMALLER, key).mean / results.spread(RESIDUAL, key).mean
        for key in ("parameters", "pass_cpu_seconds")
    )
    return Verdict(
        small.mean <= whole.mean + MARGIN and time < 0.9,
        f"test error {small} with {left:.0%} of the parameters, {whole} with "
        f"all; {1 / time:.2f} times as fast",
    )


def skipping_trains(results):
    plain, skipping = errors(results, PLAIN, SKIPPING)
    return Verdict(
        skipping.mean < plain.mean / 2,
        f"test error: plain {plain}, with StochasticDepth {skipping}",
    )


def start_trains(results):
    bare, started = errors(results, BARE, STARTED)
    return Verdict(
        started.mean < 0.75 * bare.mean,
        f"test error: default {bare}, AutoInit {started}",
    )


def private_trains(results):
    plain, private = errors(results, PLAIN, PRIVATE)
    spent = results.spread(PRIVATE, "spent_epsilon")
    return Verdict(
        private.mean < 0.2,
        f"test error {private} with ({spent}, {DELTA:g})-differential "
        f"privacy; the deep plain net {plain}",
    )


def time_of_skipping(results):
    """The time of a step that skips blocks, as a part of a plain one's."""
    residual, skipping = (
        results.spread(arm, "turn_cpu_seconds").mean
        for arm in (RESIDUAL, SKIPPING)
    )
    return skipping / residual


def saves_time(results):
    saved = 1 - time_of_skipping(results)
    return Verdict(saved > 0.1, f"{saved:.0%} of a step's CPU time saved")


def as_good_in_the_time(results):
    residual, skipping = errors(results, RESIDUAL, SKIPPING)
    fewer, more = (
        results.spread(arm, "epochs").mean for arm in (RESIDUAL, SKIPPING)
    )
    time = time_of_skipping(results) * more / fewer
    return Verdict(
        skipping.mean <= residual.mean + MARGIN and time < 1.05,
        f"test error {skipping} after {more:g} epochs, {residual} after "
        f"{fewer:g}; {time:.2f} of the CPU time",
    )


def scale(about, data="mnist5k", **settings):
    defaults = {
        "batch_size": 32,
        "learning_rate": 0.03,
        "limit": None,
        "epsilon": 3,
        "private_epochs": 8,
        "private_rate": 2.0,
        "examples": None,
        "turns": 7,
        "ratio": 0.3,
        "tune_epochs": 3,
        "tune_rate": 0.01,
    }
    return Scale(about, {**defaults, **settings}, data=data, seeds=1)


RECIPE = Recipe(
    name="tour",
    title="Plain, residual, smaller, skipping, AutoInit, private",
    paper="He et al. 2015, Huang et al. 2016, Bingham et al. 2023, "
    "De et al. 2022",
    claims=(
        Claim(
            "plain fails",
            "The residual net has less than half the plain net's error.",
            "He et al., fig. 6",
            plain_fails,
        ),
        Claim(
            "smaller and as good",
            "Without 30 % of the channels of each layer the residual net errs "
            "by at most three percentage points more, in less than nine "
            "tenths of the time.",
            "Li et al. 2017, table 1: ResNet-110, 39 % less work, 0.2 points",
            smaller_is_faster,
        ),
        Claim(
            "skipping trains",
            "So does the net that skips blocks at random.",
            "Huang et al., table 1",
            skipping_trains,
        ),
        Claim(
            "skipping saves",
            "Skipping blocks saves over a tenth of the time of a step.",
            "Huang et al., section 4: about a quarter",
            saves_time,
        ),
        Claim(
            "its time is well spent",
            "In the same time the net that skips blocks sees the data more "
            "often, and comes within three percentage points of the residual "
            "net's error.",
            "Huang et al., table 1: a lower error, in hundreds of epochs",
            as_good_in_the_time,
        ),
        Claim(
            "a start trains",
            "Without normalization the plain net trains from AutoInit's "
            "start alone; its error falls by over a quarter.",
            "Bingham and Miikkulainen 2023",
            start_trains,
        ),
        Claim(
            "private trains",
            "A small net that is trained with differential privacy tells more "
            "than four fifths of the unseen images right.",
            "De et al. 2022: CIFAR-10 81.4 % at (8, 1e-5)",
            private_trains,
        ),
    ),
    data="mnist5k",
    scales={
        "quick": scale(
            "7 minutes on 2 cores",
            depth=44,
            epochs=8,
            limit=1024,
            skipping_epochs=10,
        ),
        "full": scale(
            "40 minutes on 2 cores", depth=56, epochs=15, skipping_epochs=19
        ),
        "paper": scale(
            "a day on one GPU",
            "cifar10",
            depth=110,
            epochs=500,
            skipping_epochs=625,
            examples=45_000,
        ),
    },
    arms=arms,
    run=run,
    metrics=("test_error", "epoch_cpu_seconds"),
)
