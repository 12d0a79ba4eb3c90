"""From image files to batches: data sets, their prepared form, loading, augmentation, and a look at a folder."""


def __getattr__(name: str):
    if name == "load":
        # Imported on use: the room itself imports nothing.
        from unet_jax.data.datasets.registry import load_dataset

        return load_dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
