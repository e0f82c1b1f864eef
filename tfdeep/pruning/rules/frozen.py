"""What keeps all its channels, by name, and why."""

from keras import layers

from tfdeep.pruning.call import ChannelCall
from tfdeep.pruning.registry import channel_rule

IMAGES = [
    getattr(layers, name)
    for name in """AugMix AutoContrast ContrastLimitedAdaptiveHistogramEqualization
    CutMix Equalization MaxNumBoundingBoxes MixUp RandAugment RandomBrightness
    RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
    RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur
    RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization
    RandomRotation RandomSaturation RandomSharpness RandomShear
    RandomTranslation RandomZoom Solarization""".split()
    if hasattr(layers, name)
]
LOOKUPS = [
    getattr(layers, name)
    for name in """CategoryEncoding Discretization HashedCrossing Hashing
    IntegerLookup MelSpectrogram Pipeline STFTSpectrogram StringLookup
    TextVectorization""".split()
    if hasattr(layers, name)
]
OTHERS = [
    getattr(layers, name)
    for name in """FlaxLayer JaxLayer Lambda TFSMLayer TorchModuleWrapper""".split()
    if hasattr(layers, name)
]
HELD = [
    layers.Bidirectional,
    layers.ConvLSTM1D,
    layers.ConvLSTM2D,
    layers.ConvLSTM3D,
    layers.GRUCell,
    layers.LSTMCell,
    layers.RNN,
    layers.SimpleRNNCell,
    layers.StackedRNNCells,
    layers.TimeDistributed,
    layers.Wrapper,
]
OPERATIONS = """associative_scan batch_normalization bincount cdist cond conv
conv_transpose corrcoef correlate cross depth_to_space depthwise_conv diag
diagflat diagonal digitize dot dot_product_attention dsplit dstack einsum fft
fft2 fold fori_loop gcd histogram hsplit hstack ifft2 in_top_k inner irfft isin
istft kron lcm map meshgrid moments multi_hot nancumprod nancumsum nanargmax
nanargmin nanpercentile nanquantile one_hot outer percentile psnr ravel
rearrange rfft rot90 fliplr flipud scan scatter scatter_update segment_max
segment_min segment_prod segment_sum select separable_conv slice slice_update
space_to_depth stft switch take_along_axis tensordot top_k trace trapezoid tril
triu unfold unique vdot vectorized_map view view_as_complex view_as_real vsplit
vstack while_loop layer_normalization rms_normalization append polar full_like
empty_like extract_sequences argpartition binary_crossentropy
categorical_crossentropy sparse_categorical_crossentropy ctc_loss""".split()


def _frozen(why: str):
    def rule(call: ChannelCall):
        call.freeze_inputs(f"{call.path} ({type(call.layer).__name__}) {why}")

    return rule


channel_rule(*IMAGES)(_frozen("takes images as they are"))
channel_rule(*LOOKUPS)(_frozen("takes data as it is"))
channel_rule(*OTHERS)(_frozen("runs code that no rule describes"))
channel_rule(*HELD)(_frozen("holds a layer whose width it does not say"))
channel_rule(*OPERATIONS)(_frozen("takes channels in no way that is followed"))
channel_rule(
    layers.Attention, layers.AdditiveAttention, layers.Dot, layers.Masking
)(_frozen("takes channels together"))
channel_rule(layers.SpectralNormalization)(
    _frozen("divides by the norm of the whole kernel")
)
