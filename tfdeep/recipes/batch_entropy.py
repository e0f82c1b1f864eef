"""Deep plain nets without skips or normalization, kept alive by their entropy."""

from functools import partial

from tfdeep.recipes.recipe import Claim, Recipe, Scale, Verdict

DENSE, CONV = "dense", "conv"
PLAIN, REGULARIZED = "plain", "regularised"
HE, ANALYTIC = "He start", "AutoInit"


def deep_net(kind, shape, classes, depth, width, he):
    """A chain of ReLU layers; U(+-1/sqrt(fan_in)) for weights and biases.

    That is the start of the authors' code, under which the signal dies.
    """
    import keras
    import numpy as np

    def start(fan_in):
        if he:
            return {"kernel_initializer": "he_normal"}
        law = keras.initializers.RandomUniform
        bound = fan_in**-0.5
        return {
            "kernel_initializer": law(-bound, bound),
            "bias_initializer": law(-bound, bound),
        }

    parts = [keras.Input(shape)]
    if kind == DENSE:
        parts.append(keras.layers.Flatten())
    fan_in = int(np.prod(shape)) if kind == DENSE else 9 * shape[-1]
    for _ in range(depth):
        if kind == DENSE:
            layer = keras.layers.Dense(width, "relu", **start(fan_in))
            fan_in = width
        else:
            layer = keras.layers.Conv2D(
                8, 3, padding="same", activation="relu", **start(fan_in)
            )
            fan_in = 72
        parts.append(layer)
    if kind == CONV:
        parts.append(keras.layers.Flatten())
    parts.append(keras.layers.Dense(classes, "softmax"))
    return keras.Sequential(parts)


def nets(settings):
    """Kind and depth of every net that a scale compares."""
    dense = [(DENSE, depth) for depth in settings.dense_depths]
    return dense + [(CONV, depth) for depth in settings.conv_depths]


def epochs(settings):
    """How long a net of either kind is trained."""
    return {DENSE: settings.epochs, CONV: settings.conv_epochs}


def title(kind, depth, arm):
    return f"{kind} {depth}, {arm}"


def arms(context):
    import keras

    from tfdeep import BatchEntropyRegularizer
    from tfdeep.recipes.training import compiled, steps_per_epoch

    settings = context.settings

    def optimizer(kind):
        rate = settings.learning_rate
        if settings.decay:
            steps = steps_per_epoch(context) * epochs(settings)[kind]
            rate = keras.optimizers.schedules.CosineDecay(rate, steps)
        return keras.optimizers.Adam(rate, global_clipnorm=settings.clip)

    def build(kind, depth, arm):
        net = deep_net(
            kind,
            context.shape,
            context.classes,
            depth,
            settings.width,
            he=arm == HE,
        )
        if arm == REGULARIZED:
            # The authors' settings of either net.
            least = 0.2 if kind == DENSE else 2.0
            net = BatchEntropyRegularizer(net, alpha_min=least)
        return compiled(context, net, optimizer(kind))

    return {
        title(kind, depth, arm): partial(build, kind, depth, arm)
        for kind, depth in nets(settings)
        for arm in (PLAIN, REGULARIZED, HE, ANALYTIC)
    }


def run(context):
    from tfdeep.callbacks import BatchEntropyMonitor
    from tfdeep.initializers import AutoInit
    from tfdeep.recipes.training import test_arrays, train, train_arrays

    settings = context.settings
    for run in context.runs():
        if run.arm.endswith(ANALYTIC):
            images = train_arrays(context)[0]
            init = AutoInit.from_data(images, seed=run.seed)
            init.initialize_model(run.model)
        monitor = BatchEntropyMonitor(test_arrays(context)[0], verbose=0)
        train(
            run,
            validate=False,
            batch_size=settings.batch_size,
            epochs=epochs(settings)[run.arm.partition(" ")[0]],
            callbacks=[monitor],
        )
        run.record(last_entropy=monitor.entropies[-1, -1])


def found(results, arm):
    """The nets of a run, as prefixes of its arms, with this arm."""
    ends = f", {arm}"
    return [a.removesuffix(ends) for a in results.arms if a.endswith(ends)]


def dies(results):
    """Without the regulariser every net stays at chance."""
    spreads = {
        net: results.spread(f"{net}, {PLAIN}", "train_error")
        for net in found(results, PLAIN)
    }
    held = all(spread.mean > 0.8 for spread in spreads.values())
    said = "; ".join(f"{net} {spread}" for net, spread in spreads.items())
    return Verdict(held, f"training error: {said}")


def trains(results):
    """With it every net learns."""
    held, said = True, []
    for net in found(results, REGULARIZED):
        pair = [f"{net}, {arm}" for arm in (PLAIN, REGULARIZED)]
        held &= results.difference(*pair, "test_error").clear
        before, after = (results.spread(arm, "test_error") for arm in pair)
        said.append(f"{net} {before} to {after}")
    return Verdict(held, f"test error: {'; '.join(said)}")


def lives(results):
    """The last hidden layer has an entropy with it, and none without."""
    held, said = True, []
    for net in found(results, REGULARIZED):
        pair = [f"{net}, {arm}" for arm in (PLAIN, REGULARIZED)]
        dead, alive = (results.spread(arm, "last_entropy") for arm in pair)
        held &= dead.mean < 0.01 < alive.mean
        said.append(f"{net} {dead.mean:.2g} and {alive.mean:.2g}")
    return Verdict(held, f"last hidden layer: {'; '.join(said)}")


def pictures(results):
    """A heat map of entropy by layer and epoch for each net."""
    import numpy as np

    from tfdeep.visualization import heat_map

    drawn = {}
    for net in found(results, PLAIN):
        maps = {}
        for arm in (PLAIN, REGULARIZED, HE, ANALYTIC):
            name = f"{net}, {arm}"
            if name in results.arms:
                seed = next(iter(results.by_seed(name, "last_entropy")))
                history = results.entry(name, seed).history
                layers = [k for k in history if k.startswith("entropy/")]
                maps[arm] = np.array([history[key] for key in layers]).T
        file = f"entropy-{net.replace(' ', '-')}.png"
        drawn[file] = heat_map(maps, "batch entropy", net)
    return drawn


def scale(about, data=None, seeds=3, **settings):
    defaults = {
        "batch_size": 64,
        "learning_rate": 1e-3,
        "decay": False,
        "clip": None,
    }
    return Scale(about, {**defaults, **settings}, data=data, seeds=seeds)


RECIPE = Recipe(
    name="batch-entropy",
    title="Deep nets without skips or norms, with and without LBE",
    paper="Peer et al. 2022, arXiv:2208.01134",
    claims=(
        Claim(
            "dies without",
            "Without the regulariser the training error stays that of "
            "guessing.",
            "500 layers do not train on MNIST",
            dies,
        ),
        Claim(
            "trains with",
            "With it the test error is lower.",
            "500 layers train on MNIST",
            trains,
        ),
        Claim(
            "signal lives",
            "Its last hidden layer has a positive batch entropy, without it "
            "none.",
            "a positive entropy of all layers is necessary to train",
            lives,
        ),
    ),
    data="digits",
    scales={
        "quick": scale(
            "5 minutes of CPU time",
            dense_depths=(50,),
            conv_depths=(30,),
            width=64,
            epochs=30,
            conv_epochs=12,
        ),
        "full": scale(
            "a day on 2 cores",
            "mnist5k",
            dense_depths=(100, 200, 500),
            conv_depths=(100,),
            width=128,
            batch_size=128,
            # Without the two, 500 layers that have come to life die again.
            learning_rate=1e-4,
            decay=True,
            clip=1.0,
            epochs=200,
            conv_epochs=100,
        ),
        "paper": scale(
            "a week on one GPU",
            "mnist",
            seeds=1,
            dense_depths=(500,),
            conv_depths=(500,),
            width=1000,
            batch_size=128,
            learning_rate=1e-6,
            epochs=1000,
            conv_epochs=1000,
        ),
    },
    arms=arms,
    run=run,
    curves=("accuracy",),
    metrics=("test_error", "last_entropy"),
    pictures=pictures,
    independent=True,
)
