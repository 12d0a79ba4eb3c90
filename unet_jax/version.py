"""The version of the package, for `unet_jax.__version__`, the wheel and what programs print."""

__version__ = "0.3.0.dev0"
