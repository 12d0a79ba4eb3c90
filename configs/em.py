"""Trains U-Net++ on membranes in electron micrographs (ISBI 2012).

    unet-jax train --config=em:FOLDER --workdir=runs/em

FOLDER holds images/, masks/ (ids 0 cell interior, 1 membrane) and index.csv (id,split). Each split is a block of
neighbouring slices: a split by single slices would put near copies in two splits.

Hardware: two CPU cores, 0.83 s per step. Score on val (20 training slices, 4 val slices), one seed, after 25 minutes
(--config.train.num_steps=1809, docs/explanation/results.md): IoU of the membrane 0.696. The score after the 400 steps of
this config is not measured yet.
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
    config.data.update({"class_names": ("interior", "membrane"), "patch": (128, 128)})
    config.train.update({"batch_size": 4, "num_steps": 400, "eval_every": 200})
    config.eval.update({"batch_size": 1, "classes": ("membrane",)})
    return config
