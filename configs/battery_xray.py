"""U-Net++ on a folder of battery X-rays: electrode stack and protruding plates, as masks of their own.

    unet-jax train --config=battery_xray:FOLDER --workdir=runs/battery_xray

FOLDER holds images/, masks3/ (ids 0 background, 1 stack, 2 plate) and index.csv (id,split).

Hardware: two CPU cores, 20 minutes. Score on val (51 images to train on, 10 in val), one seed, with
--config.train.num_steps=1420: pooled IoU stack .885, plate .830, mean .857; with --mode=fast the mean is .869.
docs/results.md has the run.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """`arg` is the data's folder, as --config.data.root=FOLDER sets it, or FOLDER:RECIPE, with one of augmentation."""
    folder, recipe = default.split(arg)
    config = default.get_config(recipe)
    config.model.widths = (16, 32, 64, 128, 256)
    config.data = default.image_folder(folder)
    config.data.update({"masks_dir": "masks3", "class_names": ("background", "stack", "plate"), "patch": (128, 128)})
    if not recipe:
        config.augment.quarter_turns = False  # the plates lie level in every image
        config.augment.update({"brightness": 0.2, "contrast": 0.3, "gamma": 0.3})
    config.train.update({"batch_size": 4, "num_steps": 1240, "eval_every": 155})
    config.eval.update({"batch_size": 2, "classes": ("stack", "plate")})
    return config
