"""U-Net and U-Net++ in JAX/Flax: jit-compiled, sharded, reproducible segmentation experiments.

    import unet_jax
    masks, probabilities = unet_jax.load("runs/electrodes").predict(image)

`load` is `training.load.load`: the network of a run, ready to predict.
"""


def load(workdir, **chosen):
    """The network of a run as a `Predictor`; arguments as for `unet_jax.training.load.load`."""
    from unet_jax.training.load import load as load_run  # on use: `import unet_jax.models` needs no Orbax

    return load_run(workdir, **chosen)
