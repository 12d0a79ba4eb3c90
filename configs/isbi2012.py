"""U-Net++ on the membranes of ISBI 2012, read as the organisers ship them; otherwise as configs/em.py.

    unet-jax train --config=isbi2012:ROOT --workdir=runs/isbi2012

ROOT holds train-volume.tif and train-labels.tif. The split, configs/splits/isbi2012.csv, is one of whole blocks of
slices (20 train, 4 val, 6 test).

The examples are those of configs/em.py on the same slices, and so are hardware, time and score.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default, em


def get_config(arg: str = "") -> ConfigDict:
    """`arg` is the data's folder, as --config.data.root=ROOT sets it, or ROOT:RECIPE, with one of augmentation."""
    config = em.get_config(arg)
    patch = config.data.patch
    config.data = default.isbi2012(config.data.root)
    config.data.update({"patch": patch, "split_file": default.splits("isbi2012")})
    return config
