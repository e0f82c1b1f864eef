"""What does the same to every channel, and changes no axis."""

from keras import layers

from tfdeep.pruning.call import ChannelCall
from tfdeep.pruning.registry import channel_rule
from tfdeep.pruning.rules.activation import MIXING, activated

UNARY = """abs absolute arccos arccosh arcsin arcsinh arctan arctanh cast cbrt
ceil celu clip conj conjugate copy cos cosh deg2rad elu erf erfc erfinv exp exp2
expm1 fabs floor gelu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh
i0 imag isfinite isinf isnan isneginf isposinf isreal leaky_relu log log10 log1p
log2 log_sigmoid logical_not nan_to_num negative ones_like rad2deg real
reciprocal relu relu6 round rsqrt saturate_cast selu sigmoid sign signbit silu
sin sinc sinh soft_shrink softplus softsign sparse_plus sparse_sigmoid sqrt
square squareplus stop_gradient swish tan tanh tanh_shrink threshold trunc
zeros_like bitwise_not bitwise_invert invert bitwiseinvert angle""".split()


@channel_rule(
    layers.ActivityRegularization,
    layers.AlphaDropout,
    layers.Dropout,
    layers.ELU,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.LeakyReLU,
    layers.ReLU,
    "keras.StochasticDepth",
    *UNARY,
)
def passed(call: ChannelCall):
    """Each value by itself."""
    return call.inputs[0]


@channel_rule(layers.Activation)
def activation(call: ChannelCall):
    """By itself, if the function does so."""
    return activated(call, call.inputs[0])


@channel_rule(layers.Softmax, *MIXING)
def softmax(call: ChannelCall):
    """Along another axis it leaves channels by themselves."""
    channels, axes = call.inputs[0], call.axes
    if channels is not None and (axes is None or channels.axis in axes):
        call.freeze(channels, f"{call.path} takes them together")
        return None
    return channels


@channel_rule("normalize", "layer_norm", "rms_norm")
def lengths(call: ChannelCall):
    """Lengths of all channels together."""
    (channels, *others) = call.inputs
    constants = [x for x in call.call.args[1:] if x is not None]
    if constants or others:
        call.freeze_inputs(f"{call.path} has a constant for each channel")
        return None
    if channels is not None and channels.axis in (call.axes or ()):
        call.mixes(channels.labels)
    return channels


@channel_rule(layers.Rescaling, layers.Normalization)
def rescaled(call: ChannelCall):
    """By one number."""
    values = [
        getattr(call.layer, name, 0.0)
        for name in ("scale", "offset", "input_mean", "input_variance")
    ]
    plain = all(isinstance(value, (int, float)) for value in values)
    if not plain or isinstance(call.layer, layers.Normalization):
        call.freeze_inputs(f"{call.path} has a constant for each channel")
        return None
    return call.inputs[0]
