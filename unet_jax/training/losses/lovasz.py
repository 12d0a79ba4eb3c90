"""The Lovász loss, a surrogate of 1 − IoU that has a gradient, image by image (Berman, Triki, Blaschko, CVPR 2018)."""

import jax
import jax.numpy as jnp

from unet_jax.segmentation import Array, to_probabilities, truth_masks
from unet_jax.training.losses.loss import Loss, weighted_mean


def lovasz(activation: str, weights: Array) -> Loss:
    """Builds the Lovász extension of the Jaccard loss of each image, averaged over the images with a valid pixel.

    Source: Berman et al. 2018, definition 1 and their code. With softmax it is the Lovász-softmax: the errors are |y − p|, and
    the loss of an image is the weighted mean over the classes that are present in it. With a sigmoid it is the Lovász hinge:
    the errors are max(1 − z (2 y − 1), 0) with the logits z, and the loss of an image is the weighted mean over all channels.
    If a mask is empty, only its largest error counts.

    For a network that is sure, the softmax loss is 1 − IoU. Here class 1 has four pixels, of which the network misses one; the
    IoU is 3/4. Class 0 has five pixels, and the network adds the missed one; the IoU is 5/6. The mean loss is (1/4 + 1/6) / 2:

    >>> loss = lovasz("softmax", weights=jnp.ones(2))
    >>> truth, predicted = jnp.array([[[1] * 4 + [0] * 5]]), jnp.array([1] * 3 + [0] * 6)
    >>> logits = 100.0 * jax.nn.one_hot(predicted, 2)[None, None]
    >>> sums = loss.sums(logits, truth, valid=jnp.ones((1, 1, 9), bool))
    >>> round(float(loss.from_sums(sums)), 4), round((1 / 4 + 1 / 6) / 2, 4)
    (0.2083, 0.2083)

    Args:
      activation: "softmax" or "sigmoid".
      weights: class weights `[K]`.
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
    """Returns Σ_i m_i ΔJ_i over the last axis (Berman et al. 2018, definition 1).

    m_1, m_2, ... are the errors from the largest down, and ΔJ_i = J({1..i}) − J({1..i−1}). J(M) is the Jaccard loss 1 − I/U if
    exactly the pixels of M are wrong: I counts the true pixels outside M, and U counts the true pixels and the false pixels
    in M. So a true pixel adds 1/U, and a false pixel adds I / ((U − 1) U). These terms avoid a difference of nearly equal
    numbers, which would be inexact in float32.

    For errors of 0 and 1 the result is the Jaccard loss of the wrong pixels. If one of two true pixels is missed and nothing
    else is wrong, the IoU is 1/2:

    >>> errors, truth = jnp.array([1.0, 0.0, 0.0]), jnp.array([True, True, False])
    >>> float(jaccard_extension(errors, truth, valid=jnp.array([True, True, True])))
    0.5

    Args:
      errors: at least 0, `[..., N]`.
      truth: bool `[..., N]`.
      valid: bool `[..., N]`; other pixels do not count.

    Returns:
      Float32 `[...]`.
    """
    place = jax.lax.broadcasted_iota(jnp.int32, errors.shape, errors.ndim - 1)
    # Position and truth are packed into one number per pixel, because that sorts nearly twice as fast.
    packed = place << 2 | (truth & valid) << 1 | (~truth & valid)
    _, packed = jax.lax.sort((-jax.lax.stop_gradient(errors), packed), num_keys=1, dimension=-1)
    place, true, false = packed >> 2, (packed >> 1 & 1).astype(jnp.float32), (packed & 1).astype(jnp.float32)
    total = jnp.sum(true, -1, keepdims=True)
    left, union = total - jnp.cumsum(true, -1), total + jnp.cumsum(false, -1)
    step = true / jnp.maximum(union, 1)
    # U = 1 at a false pixel means that no pixel is true. Then the first error alone makes the loss 1.
    step += false * jnp.where(union > 1, left / jnp.maximum((union - 1) * union, 1), 1)
    # A second sort restores the order of the pixels. Then the gradient is a product and needs no scatter.
    _, step = jax.lax.sort((place, step), num_keys=1, dimension=-1)
    return jnp.sum(jnp.where(valid, errors, 0) * step, -1)


def _by_channel(x: jax.Array) -> jax.Array:
    """`[B, H, W, K]` -> `[B, K, H W]`."""
    return jnp.moveaxis(x.reshape(x.shape[0], -1, x.shape[-1]), -1, 1)


def _like(valid: jax.Array, truth: jax.Array) -> jax.Array:
    return jnp.broadcast_to(valid[..., None], truth.shape)
