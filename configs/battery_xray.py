"""Trains U-Net++ on a folder of battery X-rays, with the electrode stack and the protruding plates as classes.

    unet-jax train --config=battery_xray:FOLDER --workdir=runs/battery_xray

FOLDER holds images/, masks3/ (ids 0 background, 1 stack, 2 plate) and index.csv (id,split).

Hardware: two CPU cores, 20 minutes. Score on val (51 training images, 10 val images), one seed, with
--config.train.num_steps=1420: pooled IoU stack 0.885, plate 0.830, mean 0.857; with `unet-jax eval --mode=fast` the mean is
0.869. docs/explanation/results.md has the run.
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
    config.model.widths = (16, 32, 64, 128, 256)
    config.data = default.image_folder(folder)
    config.data.update({"masks_dir": "masks3", "class_names": ("background", "stack", "plate"), "patch": (128, 128)})
    if not recipe:
        # The plates are horizontal in every image.
        config.augment.quarter_turns = False
        config.augment.update({"brightness": 0.2, "contrast": 0.3, "gamma": 0.3})
    config.train.update({"batch_size": 4, "num_steps": 1240, "eval_every": 155})
    config.eval.update({"batch_size": 2, "classes": ("stack", "plate")})
    return config
