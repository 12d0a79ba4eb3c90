"""The Lovász loss: the convex surrogate of 1 − IoU, image by image (Berman, Triki, Blaschko, CVPR 2018)."""

import jax
import jax.numpy as jnp

from unet_jax.segmentation import to_probabilities, truth_masks
from unet_jax.training.losses.loss import Loss, weighted_mean


def lovasz(activation: str, weights) -> Loss:
    """Builds the Lovász extension of the Jaccard loss of each image, then the mean over images with a valid pixel.

    Softmax: Lovász-softmax of the errors |y − p|, the weighted mean over the classes present in the image, as in the
    authors' code. Sigmoid: the Lovász hinge of the errors max(1 − z (2 y − 1), 0), z the logits, the weighted mean over
    all channels; where a mask is empty only the largest error counts.
    """

    def sums(logits, mask, valid):
        truth = truth_masks(mask, logits.shape[-1])
        if activation == "softmax":
            errors = jnp.abs(truth - to_probabilities(logits, activation))
        else:
            errors = jax.nn.relu(1 - jnp.where(truth, logits, -logits))
        per_class = jaccard_extension(*(_by_channel(x) for x in (errors, truth, _like(valid, truth))))
        weight = jnp.broadcast_to(weights, per_class.shape)
        if activation == "softmax":
            weight = weight * jnp.any(truth & valid[..., None], (1, 2))
        of_image = jnp.sum(weight * per_class, -1) / jnp.maximum(jnp.sum(weight, -1), 1e-12)
        counts = jnp.any(valid, (1, 2))
        return {"loss": jnp.sum(of_image * counts), "weight": jnp.sum(counts.astype(jnp.float32))}

    return Loss(sums, weighted_mean)


def jaccard_extension(errors: jax.Array, truth: jax.Array, valid: jax.Array) -> jax.Array:
    """Returns Σ_i m_i ΔJ_i over the last axis, m the errors from the largest down, ΔJ_i = J({1..i}) − J({1..i−1}).

    J(M) is the Jaccard loss 1 − I/U when the pixels of M, and no others, are wrong: I true pixels are left of G, and U is
    G and the false ones in M. So a true pixel adds 1/U and a false one I / ((U − 1) U), which lose no digits to
    differences of nearly equal numbers.

    At errors of 0 and 1 it is the Jaccard loss of the wrong pixels. One of two true pixels missed and nothing else wrong is
    an IoU of 1/2:

    >>> errors, truth = jnp.array([1.0, 0.0, 0.0]), jnp.array([True, True, False])
    >>> float(jaccard_extension(errors, truth, valid=jnp.array([True, True, True])))
    0.5

    Args:
      errors: at least 0, `[..., N]`.
      truth: bool, alike.
      valid: bool, alike; what is not valid takes no part.

    Returns:
      Float32 `[...]`.
    """
    place = jax.lax.broadcasted_iota(jnp.int32, errors.shape, errors.ndim - 1)
    # One number a pixel: it is sorted nearly twice as fast.
    packed = place << 2 | (truth & valid) << 1 | (~truth & valid)
    _, packed = jax.lax.sort((-jax.lax.stop_gradient(errors), packed), num_keys=1, dimension=-1)
    place, true, false = packed >> 2, (packed >> 1 & 1).astype(jnp.float32), (packed & 1).astype(jnp.float32)
    total = jnp.sum(true, -1, keepdims=True)
    left, union = total - jnp.cumsum(true, -1), total + jnp.cumsum(false, -1)
    step = true / jnp.maximum(union, 1)
    # U = 1 at a false pixel: nothing is true, and the first error alone makes the loss 1.
    step += false * jnp.where(union > 1, left / jnp.maximum((union - 1) * union, 1), 1)
    # Back to the pixels' own order by a second sort: the gradient is then a product, without a scatter.
    _, step = jax.lax.sort((place, step), num_keys=1, dimension=-1)
    return jnp.sum(jnp.where(valid, errors, 0) * step, -1)


def _by_channel(x: jax.Array) -> jax.Array:
    """`[B, H, W, K]` -> `[B, K, H W]`."""
    return jnp.moveaxis(x.reshape(x.shape[0], -1, x.shape[-1]), -1, 1)


def _like(valid: jax.Array, truth: jax.Array) -> jax.Array:
    return jnp.broadcast_to(valid[..., None], truth.shape)
