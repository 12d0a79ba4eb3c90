"""A sweep on the embedded synthetic X-rays: U-Net++ with and without deep supervision and of two levels, three seeds each.

    unet-jax train --config=electrodes_sweep --workdir=runs/sweep --sweep_index=0
    unet-jax compare runs/sweep/* --out=runs/compared

Points 0 to 8; each run gets a folder of its own in --workdir, and any other key can be set by a flag, as always. As an array
job of Slurm (`sbatch --array=0-8`): --sweep_index=$SLURM_ARRAY_TASK_ID.

Hardware: two CPU cores, four minutes a point, of as many steps as `default`. Scores at equal minutes: docs/results.md.
"""

from ml_collections import ConfigDict

from unet_jax.configs import default


def get_config(arg: str = "") -> ConfigDict:
    """The default experiment, which the points change."""
    return default.get_config(arg)


def get_sweep() -> list[dict]:
    """Networks by seeds, the seeds of a network one after the other."""
    networks = (
        {"model.name": "unet_pp", "model.deep_supervision": True},
        {"model.name": "unet_pp", "model.deep_supervision": False},
        {"model.name": "unet_pp", "model.deep_supervision": True, "model.level": 2},
    )
    return [{**network, "seed": seed} for network in networks for seed in range(3)]
