"""`python -m unet_jax` is the command `unet-jax`."""

from unet_jax.programs.commands import run

run()
