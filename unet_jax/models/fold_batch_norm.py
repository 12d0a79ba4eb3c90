"""Folds BatchNorm into the convolutions that it follows, for inference.

With its running statistics BatchNorm is linear, and so is the convolution before it. Together they are one convolution
with a bias, for each output channel:

    kernel' = kernel * scale / sqrt(var + epsilon)
    bias'   = (bias - mean) * scale / sqrt(var + epsilon) + shift

`shift` is the bias of BatchNorm; the convolution's own `bias` is 0 where it has none. The logits are the same up to rounding.

| network | what is folded |
|---|---|
| U-Net, U-Net++ | every node with `norm="batch"` |
| encoder "vgg16_bn" | every convolution; the encoder is then "vgg16" |
| encoders ResNet and DenseNet | nothing in the encoder; the nodes of the decoder are folded |
| FC-DenseNet, DenseNet | nothing: a ReLU lies between BatchNorm and the next convolution, so the two are not linear |
| FCN; norm "none", "group", "instance" | nothing: there is no BatchNorm |

ResNet could be folded, too. It is not, because no ResNet without BatchNorm exists in `encoders.registry`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from unet_jax.models.blocks import BATCH_NORM_EPSILON
from unet_jax.models.encoders.weights import PREFIX
from unet_jax.models.grid import Grid
from unet_jax.models.network import Network

# Encoders whose BatchNorm follows a convolution directly, and the same encoder without it.
WITHOUT_NORM = {"vgg16_bn": "vgg16"}


def fold_batch_norm(network: Network, variables: Mapping[str, Any]) -> tuple[Network, Mapping[str, Any]]:
    """Returns a network with the same logits in inference, without the BatchNorm that can be folded, and its variables.

    >>> import jax
    >>> from unet_jax import models
    >>> network = models.build("unet", num_classes=2, widths=(4, 8), norm="batch")
    >>> folded, variables = fold_batch_norm(network, network.init(jax.random.key(0), np.zeros((1, 8, 8, 1))))
    >>> folded.norm, sorted(variables), sorted(variables["params"]["enc_0"]["conv_0"])
    ('none', ['params'], ['bias', 'kernel'])

    Args:
      network: any network, or the part of one that a level needs.
      variables: `params` and `batch_stats` of the network, or more, such as those of all levels. They are not changed.

    Returns:
      The network and its variables. What is folded are NumPy arrays, computed in float64 and cast to the type of the
      kernel; all other leaves are those that were given. Where nothing is to be folded, the arguments are returned.
    """
    if not isinstance(network, Grid):
        return network, variables
    folds_nodes, folds_encoder = network.norm == "batch", network.encoder in WITHOUT_NORM
    if not (folds_nodes or folds_encoder):
        return network, variables
    params, statistics = dict(variables.get("params", {})), dict(variables.get("batch_stats", {}))
    for name in list(statistics):
        if name in params and (folds_encoder if name == PREFIX else folds_nodes):
            params[name] = _fold_convolutions(params[name], statistics.pop(name))
    folded = {kind: tree for kind, tree in variables.items() if kind != "batch_stats"} | {"params": params}
    if statistics:
        folded["batch_stats"] = statistics
    norm = "none" if folds_nodes else network.norm
    return network.clone(norm=norm, encoder=WITHOUT_NORM.get(network.encoder, network.encoder)), folded


def _fold_convolutions(params: Mapping[str, Any], statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of a submodule whose BatchNorm `norm_S` follows its convolution `conv_S`, for every S."""
    folded = {name: tree for name, tree in params.items() if name not in statistics}
    for name, averages in statistics.items():
        conv_name = name.replace("norm", "conv")
        conv, norm = params[conv_name], params[name]
        mean, var, scale, shift = (
            np.asarray(x, np.float64) for x in (averages["mean"], averages["var"], norm["scale"], norm["bias"])
        )
        kernel = np.asarray(conv["kernel"], np.float64)
        # A network that has diverged stays one: its NaN and Inf give no warning here.
        with np.errstate(all="ignore"):
            factor = scale / np.sqrt(var + BATCH_NORM_EPSILON)
            bias = (np.asarray(conv.get("bias", 0.0), np.float64) - mean) * factor + shift
            dtype = conv["kernel"].dtype
            folded[conv_name] = {"kernel": (kernel * factor).astype(dtype), "bias": bias.astype(dtype)}
    return folded
