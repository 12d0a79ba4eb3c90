"""The table of networks: `build(name, num_classes=K, **options)` returns a linen module, `(variables, images) -> heads`.

To add one: write its file with a subclass of `network.Network` (of `grid.Grid` where it is a grid of nodes), and add its
row to `MODELS`. The tests run over the table.
"""

import dataclasses
from typing import Any

from unet_jax.errors import UserError
from unet_jax.models.fc_densenet import FCDenseNet
from unet_jax.models.fcn import FCN
from unet_jax.models.network import Network
from unet_jax.models.unet import UNet
from unet_jax.models.unet_pp import UNetPP

MODELS: dict[str, type[Network]] = {"unet": UNet, "unet_pp": UNetPP, "fcn": FCN, "fc_densenet": FCDenseNet}
# The rows of the package; `experiment/imports.py` finds by them those that a user's file has added.
SHIPPED = dict(MODELS)


def build(name: str, *, num_classes: int, **options: Any) -> Network:
    """Builds a network for K = `num_classes` output channels.

    A network returns a tuple of heads, each of them logits `[B, H, W, K]` float32. The published U-Net, without computing
    anything:

    >>> import jax
    >>> network = build("unet", num_classes=2, variant="paper")
    >>> image = jax.ShapeDtypeStruct((1, 572, 572, 1), "float32")
    >>> heads, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), image)
    >>> [logits.shape for logits in heads]
    [(1, 388, 388, 2)]
    >>> sum(x.size for x in jax.tree.leaves(variables["params"]))
    31030658

    Args:
      name: one of `MODELS`.
      num_classes: K, the channels of the logits.
      **options: fields of the network's class. A `variant` names a published network and sets the options that it fixes.

    Returns:
      The linen module, without parameters: `module.init(key, images)` makes them, `module.apply(variables, images)` runs it.

    Raises:
      UserError: the name is not in `MODELS`, the network does not have an option, or it cannot take an option's value.
    """
    if name not in MODELS:
        raise UserError(f"model {name!r} is unknown; choose one of {', '.join(sorted(MODELS))}")
    known = [field.name for field in dataclasses.fields(MODELS[name]) if field.name not in ("parent", "name")]
    for option in options:
        if option not in known:
            # The code gives the other two; a user does not.
            listed = ", ".join(name for name in known if name not in ("num_classes", "axis_name"))
            raise UserError(f"option {option!r} of {name} is unknown; choose one of {listed}")
    variant = options.get("variant", "")
    published = MODELS[name].VARIANTS.get(variant, {}) if isinstance(variant, str) else {}
    return MODELS[name](num_classes=num_classes, **{**published, **options})
