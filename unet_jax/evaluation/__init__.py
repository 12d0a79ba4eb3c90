"""How good the masks are: metrics, evaluation of a split, prediction of a folder, pictures and tables."""

from unet_jax.evaluation.evaluate import evaluate
from unet_jax.evaluation.folder import predict_folder
from unet_jax.evaluation.metrics import summarize

__all__ = ["evaluate", "predict_folder", "summarize"]
