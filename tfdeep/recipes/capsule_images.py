"""Images that a capsule network draws anew from its capsules."""

STEPS = range(-2, 3)  # Of a capsule's entry, times PERTURBATION.
PERTURBATION = 0.125
SHOWN = 8


def reconstructions(context) -> dict:
    """Images drawn anew by a net with a decoder, and by changed capsules."""
    import keras
    import numpy as np

    from tfdeep.losses import MarginLoss
    from tfdeep.models import MomentumCapsNet
    from tfdeep.recipes.training import test_arrays, train_arrays

    settings = context.settings
    keras.utils.set_random_seed(context.seeds[0])
    model = MomentumCapsNet(
        1,
        context.shape,
        context.classes,
        filters=settings.filters,
        num_capsules=settings.capsules,
        kernel_size=settings.kernel,
    )
    pixels = int(np.prod(context.shape))
    model.compile(
        keras.optimizers.Adam(settings.learning_rate),
        {"length": MarginLoss(), "reconstruction": "mse"},
        loss_weights={"length": 1.0, "reconstruction": 0.0005 * pixels},
    )
    (x, y), (test, _) = train_arrays(context), test_arrays(context)
    x, test = (unit(images) for images in (x, test))
    model.fit(
        {"image": x, "label": y},
        {"length": y, "reconstruction": x},
        batch_size=settings.batch_size,
        epochs=2 * settings.epochs,
        verbose=0,
    )
    drawn = model.predict(
        {"image": test[:SHOWN], "label": np.zeros(SHOWN, "int32")}, verbose=0
    )["reconstruction"]
    return {
        "reconstructions": {"image": test[:SHOWN], "drawn anew": drawn},
        "perturbed": perturbed(model, test[:1]),
    }


def unit(images):
    """Images with values from 0 to 1."""
    import numpy as np

    low, high = images.min(), images.max()
    return ((images - low) / (high - low)).astype(np.float32)


def perturbed(model, image) -> dict:
    """One image, drawn with single entries of its capsule changed."""
    import keras
    import numpy as np

    mask = model.get_layer("mask")
    coder = keras.Model(
        model.get_layer("image").output, model.get_layer("classes").output
    )
    flat = np.array(mask(coder(image)))
    (kept,) = np.nonzero(flat[0])
    names = ("decoder_1", "decoder_2", "pixels", "reconstruction")
    decoder = [model.get_layer(name) for name in names]
    rows = {}
    for number, place in enumerate(kept[:SHOWN], start=1):
        changed = np.repeat(flat, len(STEPS), 0)
        changed[:, place] += [PERTURBATION * step for step in STEPS]
        x = changed
        for layer in decoder:
            x = layer(x)
        rows[f"entry {number}"] = np.array(x)
    return rows
