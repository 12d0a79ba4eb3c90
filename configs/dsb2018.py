"""Trains U-Net++ on the nuclei of the Data Science Bowl 2018, read as the organisers ship them; all else is as in `nuclei`.

    unet-jax train --config=dsb2018:ROOT --workdir=runs/dsb2018

ROOT holds stage1_train/ID/images and stage1_train/ID/masks. The split, configs/splits/dsb2018.csv (468 train, 64 val),
keeps the tiles of one field of view together; images that it does not name are left out. With
--config.data.split_file="" the fields are found from the images, and all images are divided.

Hardware and time are those of `nuclei`. Its scores are on labels that others have corrected; the score on the organisers'
labels, as they are read here, is not measured yet.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default, nuclei


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config.

    Args:
      arg: ROOT, the folder of the data, as --config.data.root=ROOT sets it; or ROOT:RECIPE, with a recipe of
        augmentation.
    """
    config = nuclei.get_config(arg)
    patch = config.data.patch
    config.data = default.dsb2018(config.data.root)
    config.data.update({"patch": patch, "split_file": default.splits("dsb2018")})
    return config
