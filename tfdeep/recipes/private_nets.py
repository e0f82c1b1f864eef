"""Nets, views and optimizers of the recipe of private training."""


def optimizer(rate, plan, theirs):
    """SGD; TF Privacy's brings its own clip and noise, which are the same."""
    import keras

    if not theirs:
        return keras.optimizers.SGD(rate)
    from tfdeep.privacy.tf_privacy import DPKerasSGDOptimizer

    return DPKerasSGDOptimizer(
        l2_norm_clip=1.0,
        noise_multiplier=plan.noise_multiplier,
        learning_rate=rate,
    )


def shifts(settings):
    """Random shifts by up to a tenth, and flips where they mean nothing."""
    import keras

    shift = keras.layers.RandomTranslation(0.1, 0.1, "constant", "nearest")
    if not getattr(settings, "flip", False):
        return shift
    return keras.Sequential([shift, keras.layers.RandomFlip("horizontal")])


def net(context, normalize, standardize):
    """The small net; or the paper's wide one."""
    from keras import layers

    from tfdeep.layers import WeightStandardizedConv2D
    from tfdeep.models import WideResNet

    settings = context.settings
    if getattr(settings, "depth", None):
        return WideResNet(
            *(settings.depth, settings.width),
            norm="group",
            norm_groups=16,
            activation_first=True,
            weight_standardization=standardize,
            weight_decay=0.0,
            classifier_activation=None,
            input_shape=context.shape,
            classes=context.classes,
        )
    conv = WeightStandardizedConv2D if standardize else layers.Conv2D
    return small_net(
        context.shape, context.classes, settings.channels, normalize, conv
    )


def small_net(shape, classes, channels, normalize=True, conv=None):
    """Two convolutions and a classifier."""
    import keras
    from keras import layers

    conv = conv or layers.Conv2D
    parts = [keras.Input(shape)]
    for filters in channels:
        parts += [conv(filters, 4, 2, padding="same"), layers.ReLU()]
        if normalize:
            parts.append(layers.GroupNormalization(4))
    return keras.Sequential([*parts, layers.Flatten(), layers.Dense(classes)])
