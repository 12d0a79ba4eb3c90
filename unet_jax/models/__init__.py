"""The networks and their encoders, from images to the logits of one head or more."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("build", "MODELS"):
        # On use: the room itself imports nothing.
        from unet_jax.models import registry

        return getattr(registry, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
