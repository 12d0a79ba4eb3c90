"""Lists how each option changes the published networks, and how one network differs from its paper."""

from unet_jax.models.grid import Grid
from unet_jax.models.network import Network

# (model, option, published values, what any other value does)
DEVIATIONS = (
    ("unet", "padding", ("valid",), "same: zeros beyond the border, logits of the image's size; the paper keeps only pixels whose whole context was seen"),
    ("unet_pp", "padding", ("same",), "valid: added here; each x^{i,k} is cropped to what U(x^{i+1,j-1}) covers, and every head to the deepest one's size"),
    ("U-Net and U-Net++", "norm", ("none",), "batch, group, instance: a normalisation after each 3x3 convolution, whose bias it replaces; neither paper has one"),
    ("U-Net and U-Net++", "upsample", ("transpose",), "bilinear, nearest: resizing and a 1x1 convolution in place of the 2x2 transposed convolution"),
    ("unet", "widths", ((64, 128, 256, 512, 1024), (35, 70, 140, 280, 560)), "other widths or another depth than the published five levels"),
    ("unet_pp", "widths", ((32, 64, 128, 256, 512),), "other widths or another depth than the published five levels"),
    ("unet", "dropout", (), "the paper says where, but gives no rate; the release has 0.5"),
    ("unet_pp", "dropout", (0.5,), "a rate that differs from the authors' 0.5 after every ReLU"),
    ("unet", "activation", ("softmax",), "sigmoid: one independent mask per channel, in place of the paper's softmax"),
    ("unet_pp", "activation", ("sigmoid",), "softmax: one class per pixel, in place of the authors' sigmoid"),
    ("fcn", "widths", ((64, 128, 256, 512, 512, 4096),), "narrower or wider than VGG-16"),
    ("fcn", "dropout", (0.5,), "a rate that differs from the authors' 0.5 after fc6 and fc7"),
    ("fc_densenet", "variant", ("103", "67", "56"), "'': the first convolution, growth rate or number of layers may differ from the published ones"),
    ("fc_densenet", "dropout", (0.2,), "a rate that differs from the paper's 0.2 after every layer"),
    ("*", "dtype", ("float32",), "bfloat16: convolutions are rounded to 8 bits of mantissa; weights, statistics and logits stay float32"),
    ("U-Net and U-Net++", "encoder", ("",), "a classification network replaces the contracting path; neither paper has one"),
    ("U-Net and U-Net++", "variant", ("paper", "release", "same", "wide"), "'': weights start He normal, truncated at two standard deviations, and Glorot uniform for U"),
)  # fmt: skip

ALWAYS = (
    "D divides the gradient equally between pixels that tie; the papers' frameworks give it to one of them.",
    "With same padding, and in FC-DenseNet, the last row and column are repeated until the sides are multiples of 2^depth; "
    "the papers' images for U-Net and U-Net++ have such sides, and FC-DenseNet's code rounds pools down and crops TU.",
    "The up-sampled map comes first in a concatenation, as in the authors' code; the papers do not give the order.",
    "BatchNorm adds 1e-5 to the variance; FC-DenseNet's code adds 1e-4.",
    "FCN's trunk starts He normal, truncated at two standard deviations; its authors took VGG-16's ImageNet weights.",
)


def lines() -> list[str]:
    """Returns one line for every deviation that an option can cause."""
    return [f"{'every network' if model == '*' else model}, {option}: {text}" for model, option, _, text in DEVIATIONS]


def of(name: str, module: Network) -> list[str]:
    """Returns the deviations of one network from the published ones.

    Args:
      name: the network's name in `MODELS`.
      module: the network.

    Returns:
      One line for each deviation, "OPTION=VALUE: what it changes"; empty for a published network.
    """
    kinds = {name, "*"} | ({"U-Net and U-Net++"} if isinstance(module, Grid) else set())
    return [
        f"{option}={module.options[option]!r}: {text}"
        for model, option, published, text in DEVIATIONS
        if model in kinds and published and module.options[option] not in published
    ]
