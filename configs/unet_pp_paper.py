"""Trains U-Net++ exactly as published, as its authors did, on nuclei (Zhou et al., DLMIA 2018, and their code).

    unet-jax train --config=unet_pp_paper:FOLDER --workdir=runs/unet_pp_paper

FOLDER as in `nuclei`. Taken from the paper and its code: the network (dropout 0.5 after every ReLU, no normalisation),
windows of 96 x 96, half the binary cross entropy minus Dice at each of four heads with weight 1, Adam with a learning rate
of 3e-4, their l2(1e-4), which is a weight decay of 2e-4 here, and early stopping. They do not state batch size, patience,
length, split and augmentation; those are ours.

Hardware: two CPU cores, 2.7 s per step. Score on val, one seed, after ten minutes of steps (--config.train.num_steps=223):
pooled IoU 0.387, mean over the images 0.631. This is too short for a network without normalisation and with dropout 0.5.
docs/explanation/results.md has the run.
"""

from ml_collections import ConfigDict

from unet_jax.configs import nuclei


def get_config(arg: str = "") -> ConfigDict:
    """Returns the config.

    Args:
      arg: FOLDER, the folder of the data, as --config.data.root=FOLDER sets it; or FOLDER:RECIPE, with a recipe of
        augmentation.
    """
    config = nuclei.get_config(arg)
    config.model.update({"variant": "paper", "widths": (32, 64, 128, 256, 512), "norm": "none", "dropout": 0.5})
    config.loss.head_weights = (1.0, 1.0, 1.0, 1.0)
    config.optim.update({"name": "adam", "learning_rate": 3e-4, "schedule": "constant", "warmup_steps": 0})
    config.optim.update({"weight_decay": 2e-4, "grad_clip": 0.0})
    config.eval.mode = "accurate"
    config.train.update({"num_steps": 20000, "eval_every": 200, "patience": 10})
    return config
