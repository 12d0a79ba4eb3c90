"""Computes how deep each convolution lies: the number of kernels on the longest way from the image through it.

Found in the traced program, whatever the network: 1 is a convolution that reads the image, and any other lies one deeper
than the deepest of those whose maps it reads. The order in which a network's code runs its parts does not matter.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend.core import Literal


def depths(module: nn.Module, channels: int) -> dict[str, int]:
    """Returns the depth of every kernel that the heads read, by its layer's name such as "x_0_0/conv_1", shallow to deep.

    Transposed and 1x1 convolutions count, poolings and normalisations do not. Layers of one depth are in the order in
    which they run. Nothing is computed.

    Args:
      module: the network.
      channels: of the images.
    """
    # A recomputed node would be a program in the program.
    module = module.without_remat()
    size = module.input_size(max(32, module.multiple))
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), image)
    program = jax.make_jaxpr(module.apply)(variables, image).jaxpr
    *leaves, image = program.invars
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree.leaves_with_path(variables)]
    made_of = {leaf: {name} for name, leaf in zip(names, leaves, strict=True) if is_kernel(name)}
    depth, depth_of_layer = {image: 0}, {}
    for equation in program.eqns:
        inputs = [x for x in equation.invars if not isinstance(x, Literal)]
        read = set().union(*(made_of.get(x, ()) for x in inputs))
        ways = [depth[x] for x in inputs if x in depth]
        if not ways:
            # A kernel is first brought into another shape or type.
            made_of |= dict.fromkeys(equation.outvars, read)
            continue
        depth |= dict.fromkeys(equation.outvars, max(ways) + bool(read))
        for name in read:
            depth_of_layer.setdefault(layer_of(name), max(ways) + 1)
    return dict(sorted(depth_of_layer.items(), key=lambda item: item[1]))


def is_kernel(name: str) -> bool:
    """Returns whether this is the name, in the variables or the parameters, of a convolution's weights."""
    return name.rpartition("/")[2] == "kernel"


def layer_of(name: str) -> str:
    """Returns the layer's name from that of its kernel: "params/x_0_0/conv_1/kernel" -> "x_0_0/conv_1"."""
    return name.removeprefix("params/").removesuffix("/kernel")
