"""Trains a tiny U-Net++ on a few small synthetic X-rays. The run uses every part, so it tests an installation.

    unet-jax train --config=smoke --workdir=runs/smoke

Hardware: any; two CPU cores need about half a minute, most of it for compilation. The scores mean nothing.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config.

    Args:
      arg: a recipe of augmentation, or "".
    """
    config = default.get_config(arg)
    config.model.widths = (4, 8)
    config.data.update({"patch": (32, 32), "size": (64, 64), "num_train": 16, "num_val": 8, "num_test": 8})
    config.train.update({"num_steps": 20, "log_every": 5, "eval_every": 10})
    config.optim.warmup_steps = 5
    config.eval.num_pictures = 4
    return config
