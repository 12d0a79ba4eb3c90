"""What each option changes of the published networks, in words; and what of a config's network differs from its paper's."""

from flax import linen as nn

from unet_jax.models.grid import Grid

# (model, option, values that are published, what another value does)
DEVIATIONS = (
    ("unet", "padding", ("valid",), "same: zeros beyond the border, logits of the image's size; the paper keeps only pixels whose whole context was seen"),
    ("unet_pp", "padding", ("same",), "valid: ours; each x^{i,k} is cropped to what U(x^{i+1,j-1}) covers, and every head to the deepest one's size"),
    ("U-Net and U-Net++", "norm", ("none",), "batch, group, instance: a normalisation after each 3x3 convolution, whose bias it replaces; neither paper has one"),
    ("U-Net and U-Net++", "upsample", ("transpose",), "bilinear, nearest: resizing and a 1x1 convolution in place of the 2x2 transposed convolution"),
    ("unet", "widths", ((64, 128, 256, 512, 1024), (35, 70, 140, 280, 560)), "other widths or another depth than the published five levels"),
    ("unet_pp", "widths", ((32, 64, 128, 256, 512),), "other widths or another depth than the published five levels"),
    ("unet", "dropout", (), "the paper tells where, not which share; the release has 0.5"),
    ("unet_pp", "dropout", (0.5,), "another share than the authors' 0.5 after every ReLU"),
    ("unet", "activation", ("softmax",), "sigmoid: each channel a mask of its own, in place of the paper's softmax"),
    ("unet_pp", "activation", ("sigmoid",), "softmax: one class per pixel, in place of the authors' sigmoid"),
    ("fcn", "widths", ((64, 128, 256, 512, 512, 4096),), "narrower or wider than VGG-16"),
    ("fcn", "dropout", (0.5,), "another share than the authors' 0.5 after fc6 and fc7"),
    ("fc_densenet", "variant", ("103", "67", "56"), "'': another first convolution, growth or number of layers than published, or none said"),
    ("fc_densenet", "dropout", (0.2,), "another share than the paper's 0.2 after every layer"),
    ("*", "dtype", ("float32",), "bfloat16: convolutions are rounded to 8 bits of mantissa; weights, statistics and logits stay float32"),
    ("U-Net and U-Net++", "encoder", ("",), "the nodes that read the image alone are a network known from classification; neither paper has that"),
    ("U-Net and U-Net++", "variant", ("paper", "release", "same", "wide"), "'' leaves the start of the weights to He normal cut off at two standard deviations, and Glorot uniform for U"),
)  # fmt: skip

ALWAYS = (
    "D shares the gradient between pixels that tie; the papers' frameworks give it to one of them.",
    "A same network, FC-DenseNet too, repeats the last row and column of an image whose sides are no multiples of 2^depth; "
    "the images of U-Net and U-Net++ have such sides, and FC-DenseNet's code rounds pools down and crops what TU gives.",
    "The order of the concatenation, up-sampled map first, is that of the authors' code: the papers do not tell it.",
    "BatchNorm adds 1e-5 to the variance, FC-DenseNet's code 1e-4.",
    "FCN's trunk starts He normal, cut off at two standard deviations; its authors took VGG-16's weights from ImageNet.",
)


def lines() -> list[str]:
    """Returns every deviation that an option causes, one line each."""
    return [f"{'every network' if model == '*' else model}, {option}: {text}" for model, option, _, text in DEVIATIONS]


def of(name: str, module: nn.Module) -> list[str]:
    """Returns the deviations of this network, called `name` in MODELS, from the published ones."""
    kinds = {name, "*"} | ({"U-Net and U-Net++"} if isinstance(module, Grid) else set())
    return [
        f"{option}={module.options[option]!r}: {text}"
        for model, option, published, text in DEVIATIONS
        if model in kinds and published and module.options[option] not in published
    ]
