"""U-Net with a ResNet-34 for its encoder on the embedded synthetic X-rays: an encoder from classification, as an example.

    unet-jax train --config=electrodes_resnet34 --workdir=runs/electrodes_resnet34

It starts at random; --config.model.encoder_weights=FILE starts the encoder from torchvision's weights, once converted
(unet_jax/programs/from_torch.py).

Hardware: two CPU cores. Score on test, one seed, with two minutes of steps (--config.train.num_steps=164): pooled IoU
anode .905, cathode .909, mean .907. docs/results.md has the run.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """The default experiment with the plain network on an encoder of five levels; `arg` names a recipe of augmentation."""
    config = default.get_config(arg)
    config.model = default.unet()
    config.model.update({"encoder": "resnet34", "widths": (16, 32, 64, 128, 256, 512)})
    return config
