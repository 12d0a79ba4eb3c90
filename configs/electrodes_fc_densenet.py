"""Trains FC-DenseNet on the synthetic X-rays, with about as many parameters as in `electrodes_unet`; all else is the default.

    unet-jax train --config=electrodes_fc_densenet --workdir=runs/electrodes_fc_densenet

Hardware: two CPU cores. Score on test, one seed, after two minutes of steps (--config.train.num_steps=79): mean pooled IoU
0.787. docs/explanation/results.md has the run. On CPUs the first compilation takes a minute or more, most of it for the
random numbers of the many dropouts; --config.model.dropout=0.0 removes them.

The published networks have 103, 67 or 56 layers; `unet_jax.models.build("fc_densenet", variant="56", ...)` builds one. Here
--config.model.variant=56 checks that --config.model.stem_features, growth_rate and layers_per_block are the published ones.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config.

    Args:
      arg: a recipe of augmentation, or "".
    """
    config = default.get_config(arg)
    config.model = default.fc_densenet()
    config.model.update({"stem_features": 24, "growth_rate": 13})
    return config
