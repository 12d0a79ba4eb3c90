"""Losses of single pixels: cross entropies and the focal loss, each the weighted mean over all valid pixels."""

import jax
import jax.numpy as jnp
import optax

from unet_jax.checks import number
from unet_jax.segmentation import truth_masks
from unet_jax.training.losses.loss import Loss, check_options, require_activation, valid_class_ids, weighted_mean


def cross_entropy(activation: str, weights) -> Loss:
    """Builds the softmax cross entropy, Σ w[y] (−log p[y]) / Σ w[y] over valid pixels (U-Net, eq. 1, with w_c alone)."""
    require_activation("softmax", "cross_entropy", activation, instead="binary_cross_entropy")

    def sums(logits, mask, valid):
        ids = valid_class_ids("cross_entropy", mask, valid)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, ids)
        return _sums(loss, weights[ids] * valid)

    return Loss(sums, weighted_mean)


def binary_cross_entropy(activation: str, weights) -> Loss:
    """Builds the sigmoid cross entropy, each channel a mask of its own: the weighted mean over valid pixels and channels."""
    require_activation("sigmoid", "binary_cross_entropy", activation)

    def sums(logits, mask, valid):
        loss = optax.sigmoid_binary_cross_entropy(logits, truth_masks(mask, logits.shape[-1]).astype(jnp.float32))
        return _sums(loss, valid[..., None] * jnp.broadcast_to(weights, loss.shape))

    return Loss(sums, weighted_mean)


def weighted_cross_entropy(activation: str, weights, *, w0: float = 10.0) -> Loss:
    """Builds U-Net's cross entropy with its weight map, Σ w(x) (−log p[y]) / Σ w(x) over valid pixels (eq. 1 and 2).

    w(x) = w_c[y] + w0 exp(−(d1 + d2)² / (2 σ²)): w_c are the class weights, the exponential is the data's weight map
    (`data/store/weight_map.py`). With a sigmoid it is the binary cross entropy, w_c by channel, the map the same for all.
    """
    check_options("weighted_cross_entropy", number(least=0), w0=w0)

    def sums(logits, mask, valid, weight):
        if activation == "softmax":
            ids = valid_class_ids("weighted_cross_entropy", mask, valid)
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, ids)
            return _sums(loss, (weights[ids] + w0 * weight) * valid)
        loss = optax.sigmoid_binary_cross_entropy(logits, truth_masks(mask, logits.shape[-1]).astype(jnp.float32))
        return _sums(loss, (jnp.broadcast_to(weights, loss.shape) + w0 * weight[..., None]) * valid[..., None])

    return Loss(sums, weighted_mean, needs_weight_map=True)


def focal(activation: str, weights, *, gamma: float = 2.0) -> Loss:
    """Builds the focal loss, Σ w (1 − p_t)^γ (−log p_t) / Σ w, p_t the probability of the truth (Lin et al. 2017, eq. 4).

    Softmax: over valid pixels, w by their class. Sigmoid: over valid pixels and channels, w by channel, p_t = p where
    the mask is 1, else 1 − p. γ = 0 is the cross entropy. The paper divides by the number of anchors that hold an
    object; a pixel is no anchor, so this is the mean. Its α is what the class weights are.
    """
    check_options("focal", number(least=0), gamma=gamma)

    # The power is taken from log(1 - p_t): of 1 - p_t itself, rounded to 0, its gradient is infinite for gamma < 1.
    def sums(logits, mask, valid):
        if activation == "softmax":
            ids = valid_class_ids("focal", mask, valid)
            others = jnp.arange(logits.shape[-1]).reshape(1, 1, 1, -1) != ids[..., None]
            entropy = optax.softmax_cross_entropy_with_integer_labels(logits, ids)
            log_rest = jax.nn.logsumexp(logits, -1, where=others) - jax.nn.logsumexp(logits, -1)
            return _sums(jnp.exp(gamma * log_rest) * entropy, weights[ids] * valid)
        margin = jnp.where(truth_masks(mask, logits.shape[-1]), logits, -logits)
        loss = jnp.exp(gamma * jax.nn.log_sigmoid(-margin)) * -jax.nn.log_sigmoid(margin)
        return _sums(loss, valid[..., None] * jnp.broadcast_to(weights, loss.shape))

    return Loss(sums, weighted_mean)


def _sums(loss, weight) -> dict[str, jax.Array]:
    return {"loss": jnp.sum(loss * weight), "weight": jnp.sum(weight)}
