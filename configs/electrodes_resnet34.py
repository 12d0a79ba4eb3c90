"""Trains U-Net with a ResNet-34 encoder on the synthetic X-rays: an example of an encoder from classification.

    unet-jax train --config=electrodes_resnet34 --workdir=runs/electrodes_resnet34

The encoder starts from random weights. With --config.model.encoder_weights=FILE it starts from torchvision's weights, which
`unet-jax from-torch` converts.

Hardware: two CPU cores. Score on test, one seed, after two minutes of steps (--config.train.num_steps=164): pooled IoU
anode 0.905, cathode 0.909, mean 0.907. docs/explanation/results.md has the run.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config.

    Args:
      arg: a recipe of augmentation, or "".
    """
    config = default.get_config(arg)
    config.model = default.unet()
    config.model.update({"encoder": "resnet34", "widths": (16, 32, 64, 128, 256, 512)})
    return config
