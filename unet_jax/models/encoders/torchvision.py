"""Converts torchvision's names and layouts of weights to ours.

The kernel of a convolution is `[out, in, height, width]` in PyTorch and `[height, width, in, out]` here. BatchNorm's weight,
bias, running_mean and running_var are called scale, bias, mean and var here. The classifier and the counts of batches are not
used.
"""

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from unet_jax.models.encoders.densenet import DenseNet
from unet_jax.models.encoders.encoder import Encoder
from unet_jax.models.encoders.resnet import ResNet
from unet_jax.models.encoders.vgg import VGG
from unet_jax.models.encoders.weights import flatten, raise_weight_mismatch

NAMES = ("vgg16", "vgg16_bn", "resnet34", "resnet50", "densenet121", "densenet169", "densenet201", "densenet161")
# The arrays that are not used.
LEFT_OUT = re.compile(r"(fc|classifier)\..*|.*\.num_batches_tracked")
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def convert_state_dict(encoder: Encoder, state: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Converts a state dict of torchvision's network to the arrays of an encoder.

    Args:
      encoder: one of `ENCODERS`, built with all of its levels.
      state: arrays by torchvision's names, or by those of its older DenseNet files (`norm.1` for `norm1`).

    Returns:
      The encoder's arrays, float32 by path, and torchvision's names that were left out.

    Raises:
      UserError: an array is missing, left over, of another shape, or not finite in float32.
    """
    renamed = {re.sub(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)", r"\1", key): array for key, array in state.items()}
    left_out = [key for key in renamed if LEFT_OUT.fullmatch(key)]
    size = 2 ** max(encoder.levels)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    wanted = flatten(jax.eval_shape(lambda x: encoder.init(jax.random.key(0), x, False), image))
    names = {path: torchvision_name(encoder, path) for path in wanted}
    shapes = {name: wanted[path].shape for path, name in names.items()}
    shapes = {name: (s[3], s[2], s[0], s[1]) if len(s) == 4 else s for name, s in shapes.items()}
    problems = {
        "missing": [name for name in shapes if name not in renamed],
        "left over": [key for key in renamed if key not in shapes and key not in left_out],
        "of another shape": [
            f"{name} {list(np.shape(renamed[name]))} for {list(shape)}"
            for name, shape in shapes.items()
            if name in renamed and np.shape(renamed[name]) != shape
        ],
    }
    raise_weight_mismatch(
        problems,
        "the file does not hold the encoder's weights",
        "give the state dict of torchvision's network of this name",
    )
    arrays = {path: _layout(renamed[name]) for path, name in names.items()}
    raise_weight_mismatch(
        {"with NaN or Inf": [names[path] for path, array in arrays.items() if not np.isfinite(array).all()]},
        "the file cannot be used",
        "give whole weights",
    )
    return arrays, left_out


def _layout(array) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = np.asarray(array, np.float32)
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def torchvision_name(encoder: Encoder, path: str) -> str:
    """Returns torchvision's name of the variable with this path.

    >>> torchvision_name(ResNet(), "params/block_2_0/conv_1/kernel")
    'layer1.0.conv2.weight'
    """
    _, *modules, leaf = path.split("/")
    return f"{_MODULES[type(encoder)](encoder, *modules)}.{LEAVES[leaf]}"


def _vgg(encoder: VGG, module: str) -> str:
    """Returns the place in `features`: a level's convolutions, each with its normalisation and ReLU, and then its pool."""
    kind, level, k = _parts(module)
    before = sum(encoder.convs[:level]) + k
    index = before * (3 if encoder.batch_norm else 2) + level
    return f"features.{index + 1 if kind == 'norm' else index}"


def _resnet(encoder: ResNet, block: str, module: str = "") -> str:
    del encoder
    if not module:
        return {"stem_conv": "conv1", "stem_norm": "bn1"}[block]
    level, k = _parts(block)[1:]
    inside = {"shortcut_conv": "downsample.0", "shortcut_norm": "downsample.1"}.get(module)
    if inside is None:
        kind, number = module.split("_")
        inside = f"{'bn' if kind == 'norm' else 'conv'}{int(number) + 1}"
    return f"layer{level - 1}.{k}.{inside}"


def _densenet(encoder: DenseNet, layer: str, module: str = "") -> str:
    if module:
        level, k = _parts(layer)[1:]
        kind, number = module.split("_")
        return f"features.denseblock{level - 1}.denselayer{k + 1}.{kind}{int(number) + 1}"
    if layer in ("stem_conv", "stem_norm"):
        return f"features.{layer.removeprefix('stem_')}0"
    kind, number = layer.split("_")
    level = int(number)
    if kind == "norm" and level == max(encoder.widths):
        return "features.norm5"
    return f"features.transition{level - 1}.{'norm' if kind == 'norm' else 'conv'}"


def _parts(name: str) -> tuple[str, int, int]:
    """Splits kind, level and number of a name such as `conv_2_0`."""
    kind, level, number = name.split("_")
    return kind, int(level), int(number)


_MODULES: dict[type[Encoder], Callable[..., str]] = {VGG: _vgg, ResNet: _resnet, DenseNet: _densenet}
