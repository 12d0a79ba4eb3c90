"""U-Net++ on a folder of your own images and masks; as many classes as the masks have.

    unet-jax train --config=image_folder:FOLDER --workdir=runs/mine

FOLDER holds images/ and masks/ with files of the same names (PNG, TIFF, BMP; images also JPEG); a mask's pixel values
are class ids 0, 1, ... and 255 for "do not count". If the masks hold 0 and 255: --config.data.mask_values="(0, 255)".
An index.csv with the columns id,split (train, val, test) or id,group is used if it is there; otherwise the images are
divided by a hash of their names, 70/15/15.

Hardware: two CPU cores suffice for a few hundred steps; --config.train.num_steps and --config.train.batch_size fit it
to what you have.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """`arg` is the data's folder, as --config.data.root=FOLDER sets it, or FOLDER:RECIPE, with one of augmentation."""
    folder, recipe = default.split(arg)
    config = default.get_config(recipe)
    config.data = default.image_folder(folder)
    config.eval.classes = ()
    return config
