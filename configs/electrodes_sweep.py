"""Trains a sweep on the synthetic X-rays: U-Net++ with and without deep supervision, and with two levels, three seeds each.

    unet-jax train --config=electrodes_sweep --workdir=runs/sweep --sweep_index=0
    unet-jax compare runs/sweep/* --out=runs/compared

The points have the numbers 0 to 8. Each run gets a folder in --workdir, and flags can set all other keys. In an array job of
Slurm (`sbatch --array=0-8`), give --sweep_index=$SLURM_ARRAY_TASK_ID.

Hardware: two CPU cores, four minutes for each point, with as many steps as `default`. docs/explanation/results.md has the
scores after equal minutes.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config.

    Args:
      arg: a recipe of augmentation, or "".
    """
    return default.get_config(arg)


def get_sweep() -> list[dict]:
    """Returns the changes of each point: every network with every seed, the seeds of a network one after the other."""
    networks = (
        {"model.name": "unet_pp", "model.deep_supervision": True},
        {"model.name": "unet_pp", "model.deep_supervision": False},
        {"model.name": "unet_pp", "model.deep_supervision": True, "model.level": 2},
    )
    return [{**network, "seed": seed} for network in networks for seed in range(3)]
