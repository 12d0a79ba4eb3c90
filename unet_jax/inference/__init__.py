"""From a trained network and an image to masks."""

from unet_jax.inference.predict import Predictor, select, to_masks, to_probabilities

__all__ = ["Predictor", "select", "to_masks", "to_probabilities"]
