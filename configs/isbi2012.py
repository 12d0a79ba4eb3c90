"""Trains U-Net++ on the membranes of ISBI 2012, read as the organisers ship them; all else is as in `em`.

    unet-jax train --config=isbi2012:ROOT --workdir=runs/isbi2012

ROOT holds train-volume.tif and train-labels.tif. The split, configs/splits/isbi2012.csv, divides whole blocks of slices (20
train, 4 val, 6 test).

The examples are the same as those of `em` on these slices, and so are hardware, time and score.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default, em


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config.

    Args:
      arg: ROOT, the folder of the data, as --config.data.root=ROOT sets it; or ROOT:RECIPE, with a recipe of
        augmentation.
    """
    config = em.get_config(arg)
    patch = config.data.patch
    config.data = default.isbi2012(config.data.root)
    config.data.update({"patch": patch, "split_file": default.splits("isbi2012")})
    return config
