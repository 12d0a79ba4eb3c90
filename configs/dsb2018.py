"""U-Net++ on the nuclei of the Data Science Bowl 2018, read as the organisers ship them; otherwise as configs/nuclei.py.

    unet-jax train --config=dsb2018:ROOT --workdir=runs/dsb2018

ROOT holds stage1_train/ID/images and stage1_train/ID/masks. The split, configs/splits/dsb2018.csv (468 train, 64 val),
keeps the tiles of one field of view together; images that it does not name are left out.
--config.data.split_file="" finds the fields itself and divides all images.

Hardware and time are those of configs/nuclei.py. Its scores are on labels that others have mended since; on the
organisers' own, as they are read here, the score is not measured yet.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default, nuclei


def get_config(arg: str = "") -> ConfigDict:
    """`arg` is the data's folder, as --config.data.root=ROOT sets it, or ROOT:RECIPE, with one of augmentation."""
    config = nuclei.get_config(arg)
    patch = config.data.patch
    config.data = default.dsb2018(config.data.root)
    config.data.update({"patch": patch, "split_file": default.splits("dsb2018")})
    return config
