"""Trains and scores one experiment; the same as `unet-jax train`. Flags: `python run_train.py --help`."""

from unet_jax.programs import train

if __name__ == "__main__":
    train.run()
