"""FC-DenseNet on the embedded synthetic X-rays, about as many parameters as `electrodes_unet`'s, otherwise as the default.

    unet-jax train --config=electrodes_fc_densenet --workdir=runs/electrodes_fc_densenet

Hardware: two CPU cores. Score on test, one seed, with two minutes of steps (--config.train.num_steps=79): mean pooled IoU
.787. docs/results.md has the run. On CPUs the first compilation takes a minute or more, most of
it for the random numbers of the many dropouts; --config.model.dropout=0.0 leaves them out. A published network, 103, 67
or 56, is `unet_jax.models.build("fc_densenet", variant="56", ...)`; here --config.model.variant=56 makes sure that
--config.model.stem_features, growth_rate and layers_per_block are its.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """The default experiment with the densely connected network; `arg` names a recipe of augmentation."""
    config = default.get_config(arg)
    config.model = default.fc_densenet()
    config.model.update({"stem_features": 24, "growth_rate": 13})
    return config
