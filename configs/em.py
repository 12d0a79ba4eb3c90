"""U-Net++ on membranes in electron micrographs (ISBI 2012).

    unet-jax train --config=em:FOLDER --workdir=runs/em

FOLDER holds images/, masks/ (ids 0 cell interior, 1 membrane) and index.csv (id,split), in blocks of neighbouring
slices: a split by single slices would put near copies on both sides.

Hardware: two CPU cores, .83 s a step. Score on val (20 slices to train on, 4 in val), one seed, after 25 minutes
(--config.train.num_steps=1809, docs/results.md): IoU of the membrane .696; after these 400 steps: not measured yet.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """`arg` is the data's folder, as --config.data.root=FOLDER sets it, or FOLDER:RECIPE, with one of augmentation."""
    folder, recipe = default.split(arg)
    config = default.get_config(recipe)
    config.model.widths = (16, 32, 64, 128, 256)
    config.data = default.image_folder(folder)
    config.data.update({"class_names": ("interior", "membrane"), "patch": (128, 128)})
    config.train.update({"batch_size": 4, "num_steps": 400, "eval_every": 200})
    config.eval.update({"batch_size": 1, "classes": ("membrane",)})
    return config
