"""Trains U-Net++ on a folder of your own images and masks, with the classes of the masks.

    unet-jax train --config=image_folder:FOLDER --workdir=runs/mine

FOLDER holds images/ and masks/ with files of the same names (PNG, TIFF, BMP; images also JPEG). The pixel values of a mask
are class ids 0, 1, ... and 255 for pixels that do not count. If the masks hold 0 and 255, add
--config.data.mask_values="(0, 255)". If FOLDER has an index.csv with the columns id,split (train, val, test) or id,group, it
gives the splits or groups. Otherwise a hash of the names divides the images, 70/15/15.

FOLDER may also be a file or a folder of annotations (COCO, LabelMe, YOLO, ...): they are imported once, into the cache, with the
default flags of `unet-jax import`.

Hardware: two CPU cores are enough for a few hundred steps. --config.train.num_steps and --config.train.batch_size fit the
run to your hardware.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config.

    Args:
      arg: FOLDER, the folder of the data, as --config.data.root=FOLDER sets it; or FOLDER:RECIPE, with a recipe of
        augmentation.
    """
    folder, recipe = default.split(arg)
    config = default.get_config(recipe)
    config.data = default.image_folder(folder)
    config.eval.classes = ()
    return config
