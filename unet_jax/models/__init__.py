"""The networks and their encoders, from images to the logits of one head or more."""


def __getattr__(name: str):
    if name in ("build", "MODELS"):
        from unet_jax.models import registry  # on use: the room itself imports nothing

        return getattr(registry, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
