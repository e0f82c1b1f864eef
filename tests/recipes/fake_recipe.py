"""A recipe small enough for tests: two arms on made-up points."""

import numpy as np

from tfdeep.recipes import Claim, Recipe, Scale, Verdict


def points():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype("float32")
    return x, (x[:, 0] > 0).astype("int32")


def build(units, traced=False):
    """A net whose few steps are not worth tracing."""
    import keras

    layers = [keras.layers.Input((4,)), keras.layers.Dense(units)]
    layers += [keras.layers.BatchNormalization(), keras.layers.Dropout(0.2)]
    model = keras.Sequential([*layers, keras.layers.Dense(2, "softmax")])
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        run_eagerly=not traced,
    )
    return model


def arms(context, traced=False):
    return {
        "small": lambda: build(1, traced),
        "large": lambda: build(8, traced),
    }


def large(context):
    return {"large": lambda: build(8)}


def run(context):
    x, y = points()
    for run in context.runs():
        if context.settings.fail:
            raise RuntimeError("the fake recipe fails")
        epochs = context.settings.epochs
        if run.arm == "large":
            epochs *= context.settings.slow
        # Unshuffled: on JAX the first `fit` of a model shuffles otherwise.
        run.fit(x, y, epochs=epochs, shuffle=False, validation_data=(x, y))
        accuracy = run.evaluate(x, y)["accuracy"]
        run.record(error=1 - accuracy, seconds=run.timing.cpu)


def only_record(context):
    for seed in context.seeds:
        context.record("small", seed, error=0.5)
        context.record("large", seed, error=0.25)


def judge(results):
    gain = results.difference("small", "large", "error")
    return Verdict(gain.mean > -1.0, f"lower by {gain}")


def judge_false(results):
    return Verdict(
        False, f"{results.spread('large', 'error')} [not less than 0]"
    )


def scale(about="1 s", **settings):
    return Scale(
        about, {"epochs": 3, "slow": 1, "fail": False, **settings}, seeds=2
    )


SCALES = {
    "quick": scale(),
    "full": scale("for ever", slow=100_000),
    "paper": scale(fail=True),
}
GAIN = Claim(
    "gain", "The large net errs less.", "Table 1: 3 % against 5 %", judge
)
LOSS = Claim("loss", "The large net errs less than never.", "none", judge_false)


def recipe(claims, run):
    return Recipe(
        name="fake",
        title="A large net against a small one",
        paper="Nobody 2020",
        claims=claims,
        data="digits",
        scales=SCALES,
        arms=arms,
        run=run,
        curves=("val_accuracy", "loss"),
    )


RECIPE = recipe((GAIN,), run)
FALSE = recipe((GAIN, LOSS), only_record)
