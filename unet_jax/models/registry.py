"""The networks: `build(name, num_classes=K, **options)` gives a linen module, `(variables, images) -> heads`.

To add one: write its file with a subclass of `network.Network` (of `grid.Grid` where it is a grid of nodes), add its row
to `MODELS`; the tests run over the table.
"""

import dataclasses

from unet_jax.errors import UserError
from unet_jax.models.fc_densenet import FCDenseNet
from unet_jax.models.fcn import FCN
from unet_jax.models.network import Network
from unet_jax.models.unet import UNet
from unet_jax.models.unet_pp import UNetPP

MODELS: dict[str, type[Network]] = {"unet": UNet, "unet_pp": UNetPP, "fcn": FCN, "fc_densenet": FCDenseNet}


def build(name: str, *, num_classes: int, **options) -> Network:
    """Builds the network called `name` for K = `num_classes` output channels.

    Args:
      name: one of `MODELS`.
      num_classes: the channels of the logits.
      **options: fields of the network's class. A `variant`, a published network, sets the options that it fixes.

    Returns:
      The linen module, without parameters.

    Raises:
      UserError: the name is not in `MODELS`, the network does not have an option, or cannot take its value.
    """
    if name not in MODELS:
        raise UserError(f"Unknown model {name!r}: the models are {', '.join(sorted(MODELS))}.")
    known = [field.name for field in dataclasses.fields(MODELS[name]) if field.name not in ("parent", "name")]
    for option in options:
        if option not in known:
            raise UserError(f"Model {name!r} has no option {option!r}: its options are {', '.join(known)}.")
    variant = options.get("variant", "")
    published = MODELS[name].VARIANTS.get(variant, {}) if isinstance(variant, str) else {}
    return MODELS[name](num_classes=num_classes, **{**published, **options})
