"""U-Net++ on the nuclei of the Data Science Bowl 2018, with the loss and windows of its papers (96 x 96).

    unet-jax train --config=nuclei:FOLDER --workdir=runs/nuclei

FOLDER holds images/, masks/ (ids 0 background, 1 nucleus) and index.csv (id,split,group): tiles of one field of view
share a group, and a split by image alone would put them on both sides.

Hardware: two CPU cores, about 12 minutes: .9 s a step, then half a minute for the 64 whole images of val at each
evaluation. Score on val after 25 minutes, one seed: docs/results.md; after these 600 steps: not measured yet.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """`arg` is the data's folder, as --config.data.root=FOLDER sets it, or FOLDER:RECIPE, with one of augmentation."""
    folder, recipe = default.split(arg)
    config = default.get_config(recipe)
    config.model.update({"widths": (16, 32, 64, 128, 256), "activation": "sigmoid"})
    config.data = default.image_folder(folder)
    config.data.update({"class_names": ("background", "nucleus"), "patch": (96, 96)})
    config.loss.weights.update({"cross_entropy": 0.0, "dice": 0.0, "bce_dice": 1.0})
    config.train.update({"num_steps": 600, "eval_every": 200})
    config.eval.update(
        {"mode": "fast", "classes": ("nucleus",)}
    )  # chosen on val: the mean of the heads is .009 worse there
    return config
