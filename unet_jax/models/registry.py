"""The networks: `build(name, num_classes=K, **knobs)` gives a linen module, `(variables, images) -> heads`.

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


def build(name: str, *, num_classes: int, **knobs) -> Network:
    """The network called `name` for K = `num_classes` output channels; the knobs are the fields of its class.

    With a `variant`, a network as published, the knobs that it says need not be given.

    Raises:
      UserError: for a name that is not in `MODELS`, a knob that the network does not have, a value it cannot take.
    """
    if name not in MODELS:
        raise UserError(f"Unknown model {name!r}: the models are {', '.join(sorted(MODELS))}.")
    known = [field.name for field in dataclasses.fields(MODELS[name]) if field.name not in ("parent", "name")]
    for knob in knobs:
        if knob not in known:
            raise UserError(f"Model {name!r} has no knob {knob!r}: its knobs are {', '.join(known)}.")
    variant = knobs.get("variant", "")
    published = MODELS[name].VARIANTS.get(variant, {}) if isinstance(variant, str) else {}
    return MODELS[name](num_classes=num_classes, **{**published, **knobs})
