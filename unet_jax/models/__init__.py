"""The networks and their encoders, from images to the logits of one head or more."""

# As typing.TYPE_CHECKING, which a type checker takes for true, without the import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from unet_jax.models.registry import MODELS as MODELS
    from unet_jax.models.registry import build as build


def __getattr__(name: str) -> object:
    """Imports `build` and `MODELS` on their first use: the room itself imports nothing."""
    if name in ("build", "MODELS"):
        from unet_jax.models import registry

        return getattr(registry, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
