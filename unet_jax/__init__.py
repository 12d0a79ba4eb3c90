"""U-Net and U-Net++ in JAX/Flax: jit-compiled, sharded, reproducible segmentation experiments.

>>> import unet_jax
>>> network = unet_jax.build("unet_pp", num_classes=3, widths=(8, 16, 32), deep_supervision=True)
>>> network.num_heads
2

`build` makes a new network by its name. `load` opens a trained one: `unet_jax.load("electrodes")` and
`unet_jax.load("runs/mine")` return a `Predictor`, and several names, or views, an `Ensemble`. `read_image` reads an image file as the commands do. `losses` and `metrics` are the modules that hold the losses and the scores.
"""

__all__ = ["Predictor", "__version__", "build", "load", "losses", "metrics", "read_image"]

# As typing.TYPE_CHECKING, which a type checker takes for true, without the import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from unet_jax.data.datasets.image_files import read_image
    from unet_jax.evaluation import metrics
    from unet_jax.inference.predictor import Predictor
    from unet_jax.models.registry import build
    from unet_jax.runs.load import load_predictor as load
    from unet_jax.training.losses import registry as losses
    from unet_jax.version import __version__

# Where each public name is: its module, and its name there; a module itself has none.
_PUBLIC = {
    "Predictor": ("unet_jax.inference.predictor", "Predictor"),
    "__version__": ("unet_jax.version", "__version__"),
    "build": ("unet_jax.models.registry", "build"),
    "load": ("unet_jax.runs.load", "load_predictor"),
    "losses": ("unet_jax.training.losses.registry", ""),
    "metrics": ("unet_jax.evaluation.metrics", ""),
    "read_image": ("unet_jax.data.datasets.image_files", "read_image"),
}


def __getattr__(name: str) -> object:
    """Imports a public name on its first use: `import unet_jax` itself takes no time."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module, attribute = _PUBLIC[name]
    imported = importlib.import_module(module)
    return getattr(imported, attribute) if attribute else imported


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
