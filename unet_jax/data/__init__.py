"""Turns image files into batches: reads, prepares, checks and loads data sets, and augments their images."""


def __getattr__(name: str):
    if name == "load":
        # Imported on use: the room itself imports nothing.
        from unet_jax.data.datasets.registry import load_dataset

        return load_dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
