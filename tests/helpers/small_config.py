"""The config of the runs in the tests of training."""

from unet_jax.configs import default


def small_config(cache_dir):
    """Returns the config of `configs/default.py`, made small: 6 steps, with an evaluation after every third."""
    config = default.get_config()
    config.model.widths = (4, 8, 8)
    config.data.update({"patch": (32, 32), "size": (32, 32), "cache_dir": cache_dir})
    config.data.update({"num_train": 6, "num_val": 3, "num_test": 3})
    config.train.update({"batch_size": 4, "num_steps": 6, "log_every": 2, "eval_every": 3})
    config.eval.update({"batch_size": 4, "num_pictures": 2})
    config.optim.warmup_steps = 2
    return config
