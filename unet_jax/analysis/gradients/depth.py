"""Computes the depth of each convolution: the number of kernels on the longest path from the image through it.

The depth follows from the traced program of any network. A convolution that reads the image has depth 1; any other lies one
deeper than the deepest convolution whose maps it reads. The order in which the code runs its parts does not matter.
"""

import jax
import jax.numpy as jnp
from jax.extend.core import Literal, Var

from unet_jax.models.network import Network


def depths(module: Network, channels: int) -> dict[str, int]:
    """Returns the depth of every kernel that the heads read, without computing anything.

    Transposed and 1x1 convolutions count; poolings and normalisations do not.

    Args:
      module: the network.
      channels: channels of the images.

    Returns:
      By name of the layer, such as "x_0_0/conv_1", its depth, shallow to deep. Layers of one depth are in the order in
      which they run.
    """
    # A recomputed node would be a nested program.
    module = module.without_remat()
    size = module.input_size(max(32, module.multiple))
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), image)
    program = jax.make_jaxpr(module.apply)(variables, image).jaxpr
    *leaves, image_input = program.invars
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(variables)]
    # The kernels that a value is made of, before it meets the image.
    made_of: dict[Var, set[str]] = {leaf: {name} for name, leaf in zip(names, leaves, strict=True) if is_kernel(name)}
    depth: dict[Var, int] = {image_input: 0}
    depth_of_layer: dict[str, int] = {}
    for equation in program.eqns:
        inputs = [x for x in equation.invars if not isinstance(x, Literal)]
        read: set[str] = set().union(*(made_of.get(x, ()) for x in inputs))
        paths = [depth[x] for x in inputs if x in depth]
        if not paths:
            # Before the convolution, a kernel may change its shape or type.
            made_of |= dict.fromkeys(equation.outvars, read)
            continue
        depth |= dict.fromkeys(equation.outvars, max(paths) + bool(read))
        for name in read:
            depth_of_layer.setdefault(layer_of(name), max(paths) + 1)
    return dict(sorted(depth_of_layer.items(), key=lambda item: item[1]))


def is_kernel(name: str) -> bool:
    """Returns True for the name of a convolution's weights, in the variables or in the parameters."""
    return name.rpartition("/")[2] == "kernel"


def layer_of(name: str) -> str:
    """Returns the name of the layer that a kernel belongs to.

    >>> layer_of("params/x_0_0/conv_1/kernel")
    'x_0_0/conv_1'
    """
    return name.removeprefix("params/").removesuffix("/kernel")
