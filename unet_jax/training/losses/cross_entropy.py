"""Cross entropies and the focal loss. Each is a weighted mean over all valid pixels of the global batch.

In the formulas p is the probability that the network gives a class, y the true class of a pixel, and w a weight. The sums run
over all valid pixels.
"""

import jax
import jax.numpy as jnp
import optax

from unet_jax.checks import number
from unet_jax.segmentation import Array, truth_masks
from unet_jax.training.losses.loss import Loss, check_options, require_activation, valid_class_ids, weighted_mean
from unet_jax.training.losses.options import WEIGHT


def cross_entropy(activation: str, weights: Array) -> Loss:
    """Builds the softmax cross entropy, Σ w[y] (−log p[y]) / Σ w[y].

    Source: Ronneberger et al. 2015 (U-Net), equation 1, with the class weights w_c and without the map of equation 2.

    Two pixels of class 0 have p = 1/2 and 1/4, so their mean is (ln 2 + ln 4) / 2 = 1.5 ln 2:

    >>> loss = cross_entropy("softmax", weights=jnp.ones(2))
    >>> logits = jnp.log(jnp.array([[[[0.5, 0.5], [0.25, 0.75]]]]))
    >>> sums = loss.sums(logits, mask=jnp.zeros((1, 1, 2), int), valid=jnp.ones((1, 1, 2), bool))
    >>> round(float(loss.from_sums(sums) / jnp.log(2)), 4)
    1.5

    Args:
      activation: must be "softmax".
      weights: class weights w `[K]`.

    Raises:
      UserError: the activation is "sigmoid"; or, from `sums`, the mask holds overlapping masks.
    """
    require_activation("softmax", "cross_entropy", activation, instead="binary_cross_entropy")

    def sums(logits, mask, valid):
        ids = valid_class_ids("cross_entropy", mask, valid)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, ids)
        return _sums(loss, weights[ids] * valid)

    return Loss(sums, weighted_mean)


def binary_cross_entropy(activation: str, weights: Array) -> Loss:
    """Builds the sigmoid cross entropy, Σ w[k] (−y log p − (1 − y) log(1 − p)) / Σ w[k], over valid pixels and channels k.

    Each channel is a separate mask, so masks may overlap; y is 1 inside the mask and 0 outside.

    A pixel inside the mask has p = 3/4, a pixel outside has p = 1/4, so each counts ln 4/3:

    >>> loss = binary_cross_entropy("sigmoid", weights=jnp.ones(1))
    >>> logits = jnp.log(jnp.array([3.0, 1 / 3])).reshape(1, 1, 2, 1)
    >>> sums = loss.sums(logits, mask=jnp.array([[[1, 0]]]), valid=jnp.ones((1, 1, 2), bool))
    >>> round(float(loss.from_sums(sums) / jnp.log(4 / 3)), 4)
    1.0

    Args:
      activation: must be "sigmoid".
      weights: class weights w `[K]`.

    Raises:
      UserError: the activation is "softmax".
    """
    require_activation("sigmoid", "binary_cross_entropy", activation)

    def sums(logits, mask, valid):
        loss = optax.sigmoid_binary_cross_entropy(logits, truth_masks(mask, logits.shape[-1]).astype(jnp.float32))
        return _sums(loss, valid[..., None] * jnp.broadcast_to(weights, loss.shape))

    return Loss(sums, weighted_mean)


def weighted_cross_entropy(activation: str, weights: Array, *, w0: float = 10.0) -> Loss:
    """Builds U-Net's cross entropy with its weight map, Σ w(x) (−log p[y]) / Σ w(x).

    Source: Ronneberger et al. 2015 (U-Net), equations 1 and 2. w(x) = w_c[y] + w0 exp(−(d1 + d2)² / (2 σ²)). The exponential
    is the weight map of the data (`data/store/weight_map.py`); it is large in the narrow gaps between objects. With a sigmoid
    it is the binary cross entropy, with w_c by channel and the same map for all channels.

    Two pixels have p = 1/2 and 1/4. The map gives the second one the weight 1 + 10 · 0.2 = 3, so the loss is
    (ln 2 + 3 ln 4) / 4 = 1.75 ln 2:

    >>> loss = weighted_cross_entropy("softmax", weights=jnp.ones(2), w0=10.0)
    >>> logits = jnp.log(jnp.array([[[[0.5, 0.5], [0.25, 0.75]]]]))
    >>> mask, valid = jnp.zeros((1, 1, 2), int), jnp.ones((1, 1, 2), bool)
    >>> sums = loss.sums(logits, mask, valid, weight=jnp.array([[[0.0, 0.2]]]))
    >>> round(float(loss.from_sums(sums) / jnp.log(2)), 4)
    1.75

    Args:
      activation: "softmax" or "sigmoid".
      weights: class weights w_c `[K]`.
      w0: the weight of the map, at least 0.

    Raises:
      UserError: `w0` is not allowed; or, from `sums` with softmax, the mask holds overlapping masks.
    """
    check_options("weighted_cross_entropy", WEIGHT, w0=w0)

    def sums(logits, mask, valid, weight):
        if activation == "softmax":
            ids = valid_class_ids("weighted_cross_entropy", mask, valid)
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, ids)
            return _sums(loss, (weights[ids] + w0 * weight) * valid)
        loss = optax.sigmoid_binary_cross_entropy(logits, truth_masks(mask, logits.shape[-1]).astype(jnp.float32))
        return _sums(loss, (jnp.broadcast_to(weights, loss.shape) + w0 * weight[..., None]) * valid[..., None])

    return Loss(sums, weighted_mean, needs_weight_map=True)


def focal(activation: str, weights: Array, *, gamma: float = 2.0) -> Loss:
    """Builds the focal loss, Σ w (1 − p_t)^γ (−log p_t) / Σ w, where p_t is the probability of the truth.

    Source: Lin et al. 2017, equation 4. The class weights take the place of its α. The paper divides by the number of anchors
    with an object; pixels are not anchors, so this loss is the weighted mean.

    With softmax the sums run over valid pixels, and w is the weight of the true class. With a sigmoid they run over valid
    pixels and channels, w is the weight of the channel, and p_t is p inside the mask and 1 − p outside. γ = 0 gives the cross
    entropy.

    At p_t = 0.9 and γ = 2 the loss is a hundredth of the cross entropy, 0.01 · 0.10536:

    >>> loss = focal("softmax", weights=jnp.ones(2), gamma=2.0)
    >>> logits = jnp.log(jnp.array([[[[0.9, 0.1]]]]))
    >>> sums = loss.sums(logits, mask=jnp.zeros((1, 1, 1), int), valid=jnp.ones((1, 1, 1), bool))
    >>> round(float(loss.from_sums(sums)), 6)
    0.001054

    Args:
      activation: "softmax" or "sigmoid".
      weights: class weights w `[K]`.
      gamma: γ, at least 0. The larger it is, the less an easy pixel counts.

    Raises:
      UserError: `gamma` is not allowed; or, from `sums` with softmax, the mask holds overlapping masks.
    """
    check_options("focal", number(least=0, most=100), gamma=gamma)

    # The power is computed from log(1 - p_t). If 1 - p_t were rounded to 0, its gradient would be infinite for gamma < 1.
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
