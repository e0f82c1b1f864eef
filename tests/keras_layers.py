"""A small model around every layer class of Keras.

Makers take the size of a batch, or `None` for any. What is in none of these
tables is in `ELSEWHERE`, with the reason.
"""

import keras
import numpy as np
from keras import layers as L

VECTOR, SEQUENCE, IMAGE, VOLUME = (8,), (6, 8), (8, 8, 4), (4, 4, 4, 2)
FRAMES, VIDEO, CUBES = (3, 6, 2), (3, 6, 6, 2), (2, 4, 4, 4, 2)


def one(make, shape):
    """A model of one input."""

    def model(batch=4):
        inputs = keras.Input(shape, batch)
        return keras.Model(inputs, make()(inputs))

    return model


def two(make, shape, as_list=True):
    """A model of two branches that meet in the layer."""

    def model(batch=4):
        inputs = keras.Input(shape, batch)
        branches = [L.Dense(shape[-1], a)(inputs) for a in ("relu", "tanh")]
        layer = make()
        outputs = layer(branches) if as_list else layer(*branches)
        return keras.Model(inputs, outputs)

    return model


def integers(make):
    """A model of integer inputs."""

    def model(batch=4):
        inputs = keras.Input((5,), batch, dtype="int32")
        return keras.Model(inputs, make()(inputs))

    return model


def by_rank(name, *args, ranks=(1, 2, 3), **kwargs):
    shapes = {1: SEQUENCE, 2: IMAGE, 3: VOLUME}
    return {
        f"{name}{rank}D": one(
            lambda rank=rank: getattr(L, f"{name}{rank}D")(*args, **kwargs),
            shapes[rank],
        )
        for rank in ranks
    }


def adapted():
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3, 2, (64, 8)))
    return layer


MODELS = {
    **{
        name: one(getattr(L, name), VECTOR)
        for name in ("ReLU", "LeakyReLU", "ELU", "PReLU", "Softmax")
        + ("Flatten", "Identity", "ActivityRegularization", "Masking")
        + ("LayerNormalization", "RMSNormalization", "UnitNormalization")
        + ("BatchNormalization",)
    },
    "Activation": one(lambda: L.Activation("tanh"), VECTOR),
    "AlphaDropout": one(lambda: L.AlphaDropout(0.2), VECTOR),
    "Dense": one(lambda: L.Dense(4), VECTOR),
    "Dropout": one(lambda: L.Dropout(0.2), VECTOR),
    "EinsumDense": one(lambda: L.EinsumDense("ab,bc->ac", (4,)), VECTOR),
    "GaussianDropout": one(lambda: L.GaussianDropout(0.2), VECTOR),
    "GaussianNoise": one(lambda: L.GaussianNoise(0.5), VECTOR),
    "GroupNormalization": one(lambda: L.GroupNormalization(2), VECTOR),
    "Lambda": one(lambda: L.Lambda(lambda x: 2.0 * x), VECTOR),
    "Normalization": one(adapted, VECTOR),
    "RepeatVector": one(lambda: L.RepeatVector(3), VECTOR),
    "Rescaling": one(lambda: L.Rescaling(2.0, 1.0), VECTOR),
    "Reshape": one(lambda: L.Reshape((2, 4)), VECTOR),
    "Permute": one(lambda: L.Permute((2, 1)), SEQUENCE),
    "SpectralNormalization": one(
        lambda: L.SpectralNormalization(L.Dense(4)), VECTOR
    ),
    "TimeDistributed": one(lambda: L.TimeDistributed(L.Dense(4)), SEQUENCE),
    "Bidirectional": one(lambda: L.Bidirectional(L.GRU(4)), SEQUENCE),
    "RNN": one(lambda: L.RNN(L.GRUCell(4)), SEQUENCE),
    "StackedRNNCells": one(
        lambda: L.RNN(L.StackedRNNCells([L.GRUCell(4), L.LSTMCell(4)])),
        SEQUENCE,
    ),
    **{
        name: one(lambda name=name: getattr(L, name)(4), SEQUENCE)
        for name in ("GRU", "LSTM", "SimpleRNN")
    },
    **{
        f"{name}Cell": one(
            lambda name=name: L.RNN(getattr(L, f"{name}Cell")(4)), SEQUENCE
        )
        for name in ("GRU", "LSTM", "SimpleRNN")
    },
    **{
        f"ConvLSTM{rank}D": one(
            lambda rank=rank: getattr(L, f"ConvLSTM{rank}D")(4, 2), shape
        )
        for rank, shape in ((1, FRAMES), (2, VIDEO), (3, CUBES))
    },
    **by_rank("Conv", 4, 3, padding="same"),
    **{
        f"Conv{rank}DTranspose": one(
            lambda rank=rank: getattr(L, f"Conv{rank}DTranspose")(4, 2, 2),
            {1: SEQUENCE, 2: IMAGE, 3: VOLUME}[rank],
        )
        for rank in (1, 2, 3)
    },
    **by_rank("DepthwiseConv", 3, ranks=(1, 2)),
    **by_rank("SeparableConv", 4, 3, ranks=(1, 2)),
    **by_rank("AveragePooling", 2),
    **by_rank("MaxPooling", 2),
    **by_rank("GlobalAveragePooling"),
    **by_rank("GlobalMaxPooling"),
    **by_rank("AdaptiveAveragePooling", 2),
    **by_rank("AdaptiveMaxPooling", 2),
    **by_rank("ZeroPadding", 1),
    **by_rank("Cropping", 1),
    **by_rank("UpSampling", 2),
    **by_rank("SpatialDropout", 0.2),
    "Resizing": one(lambda: L.Resizing(12, 12), IMAGE),
    "CenterCrop": one(lambda: L.CenterCrop(4, 4), IMAGE),
    **{
        name: two(getattr(L, name), VECTOR)
        for name in ("Add", "Average", "Concatenate", "Maximum", "Minimum")
        + ("Multiply", "Subtract")
    },
    "Dot": two(lambda: L.Dot(1), VECTOR),
    "Attention": two(L.Attention, SEQUENCE),
    "AdditiveAttention": two(L.AdditiveAttention, SEQUENCE),
    "MultiHeadAttention": two(
        lambda: L.MultiHeadAttention(2, 4), SEQUENCE, False
    ),
    "GroupQueryAttention": two(
        lambda: L.GroupQueryAttention(4, 4, 2), SEQUENCE, False
    ),
    "Embedding": integers(lambda: L.Embedding(20, 4)),
    "ReversibleEmbedding": integers(lambda: L.ReversibleEmbedding(20, 4)),
    "CategoryEncoding": integers(lambda: L.CategoryEncoding(20)),
}
# Layers that change the picture before training and hold no weights: they
# are computed, as everything without a rule is.
IMAGES = {
    "AugMix": {},
    "AutoContrast": {},
    "ContrastLimitedAdaptiveHistogramEqualization": {},
    "Equalization": {},
    "RandAugment": {},
    "RandomBrightness": {"factor": 0.2},
    "RandomColorDegeneration": {"factor": 0.2},
    "RandomColorJitter": {},
    "RandomContrast": {"factor": 0.2},
    "RandomCrop": {"height": 4, "width": 4},
    "RandomElasticTransform": {},
    "RandomErasing": {},
    "RandomFlip": {},
    "RandomGaussianBlur": {},
    "RandomGrayscale": {},
    "RandomHue": {"factor": 0.2},
    "RandomInvert": {},
    "RandomPerspective": {},
    "RandomPosterization": {"factor": 4},
    "RandomRotation": {"factor": 0.2},
    "RandomSaturation": {"factor": 0.2},
    "RandomSharpness": {"factor": 0.2},
    "RandomShear": {},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
    "RandomZoom": {"height_factor": 0.2},
    "Solarization": {},
}
# What stands before the net and gives integers.
LOOKUPS = {
    "Discretization": ("float32", {"bin_boundaries": [-1.0, 0.0, 1.0]}),
    "Hashing": ("int32", {"num_bins": 20}),
    "IntegerLookup": ("int32", {"vocabulary": [0, 1]}),
    "StringLookup": ("string", {"vocabulary": ["a", "b"]}),
    "TextVectorization": ("string", {"vocabulary": ["a", "b"]}),
}
SOUND = {"MelSpectrogram": (2048,), "STFTSpectrogram": (2048, 1)}
ELSEWHERE = {
    "Layer": "abstract",
    "Wrapper": "abstract",
    "InputSpec": "no layer",
    "InputLayer": "of every model here",
    "Pipeline": "of layers that are run on data",
    "CutMix": "takes labels too",
    "MixUp": "takes labels too",
    "MaxNumBoundingBoxes": "takes boxes",
    "FlaxLayer": "of another framework",
    "JaxLayer": "of another framework",
    "TFSMLayer": "of another framework",
    "TorchModuleWrapper": "of another framework",
}


def image_model(name, batch=4):
    """A model of an image layer and a convolution."""
    inputs = keras.Input((16, 16, 3), batch)
    layer = getattr(L, name)(**IMAGES[name])
    return keras.Model(inputs, L.Conv2D(4, 3)(layer(inputs)))


def sound_model(name, batch=4):
    """A model of a spectrogram, and of its mean over time."""
    inputs = keras.Input(SOUND[name], batch)
    layer = (
        getattr(L, name)(fft_length=256)
        if "Mel" in name
        else L.STFTSpectrogram()
    )
    x = L.GlobalAveragePooling1D()(layer(inputs))
    return keras.Model(inputs, L.Dense(8)(x))
