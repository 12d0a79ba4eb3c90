"""U-Net and U-Net++ in JAX/Flax: jit-compiled, sharded, reproducible segmentation experiments.

    import unet_jax
    masks, probabilities = unet_jax.load("runs/electrodes").predict(image)

`load` is `unet_jax.runs.load.load_predictor`: the network of a run, ready to predict.
"""


def __getattr__(name: str):
    if name == "load":
        from unet_jax.runs.load import load_predictor  # on use: `import unet_jax.models` needs no Orbax

        return load_predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
