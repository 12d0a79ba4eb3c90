"""The losses by their definitions, pixel by pixel in float64. The tests of `training/losses` compare with them."""

import numpy as np


def pixels(logits, mask, valid, activation):
    """Yields (position, class, logit, probability, truth) of every valid pixel and class."""
    for index in np.ndindex(mask.shape):
        if valid[index]:
            z = logits[index].astype(np.float64)
            p = np.exp(z) / np.exp(z).sum() if activation == "softmax" else 1 / (1 + np.exp(-z))
            for c in range(len(z)):
                yield index, c, z[c], p[c], float(mask[index] == c)


def entropies(logits, mask, valid, weight, *, weights, activation, w0=0.0, gamma=0.0):
    total = norm = 0.0
    for index, c, _, p, y in pixels(logits, mask, valid, activation):
        if activation == "softmax" and not y:
            continue
        w, p_true = weights[c] + w0 * weight[index], p if y else 1 - p
        total, norm = total - w * (1 - p_true) ** gamma * np.log(p_true), norm + w
    return total / norm


def table(logits, mask, valid, activation):
    """Returns TP, FP, FN and the true size of each class, computed from probabilities."""
    sums = np.zeros((4, logits.shape[-1]))
    for _, c, _, p, y in pixels(logits, mask, valid, activation):
        sums[:, c] += p * y, p * (1 - y), (1 - p) * y, y
    return sums


def dice(logits, mask, valid, weight, *, weights, activation):
    tp, fp, fn, _ = table(logits, mask, valid, activation)
    return 1 - np.average((2 * tp + 1) / (2 * tp + fp + fn + 1), weights=weights)


def generalised_dice(logits, mask, valid, weight, *, weights, activation):
    tp, fp, fn, size = table(logits, mask, valid, activation)
    v = weights * (size.min() / size) ** 2
    return 1 - (2 * v @ tp + 1) / (v @ (2 * tp + fp + fn) + 1)


def tversky(logits, mask, valid, weight, *, weights, activation, alpha, beta, gamma=1.0):
    tp, fp, fn, _ = table(logits, mask, valid, activation)
    similar = (tp + 0.5) / (tp + alpha * fp + beta * fn + 0.5)
    return np.average((1 - similar) ** (1 / gamma), weights=weights)


def bce_dice(logits, mask, valid, weight, *, weights, activation):
    tp, fp, fn, _ = table(logits, mask, valid, activation)
    entropy = entropies(logits, mask, valid, weight, weights=weights, activation=activation)
    return 0.5 * entropy - (2 * weights @ tp + 1) / (weights @ (2 * tp + fp + fn) + 1)


def lovasz(logits, mask, valid, weight, *, weights, activation):
    """For each image and class, adds pixels to the wrong set from the largest error down.

    Each error is weighted by the growth of 1 - IoU when its pixel joins the set.
    """
    per_image = []
    for n in range(len(mask)):
        one = slice(n, n + 1)
        listed = list(pixels(logits[one], mask[one], valid[one], activation))
        per_class, class_weights = [], []
        for c in range(logits.shape[-1]):
            rows = [(abs(y - p) if activation == "softmax" else max(1 - z * (2 * y - 1), 0), y)
                    for _, k, z, p, y in listed if k == c]  # fmt: skip
            if activation == "softmax" and not any(y for _, y in rows):
                continue
            true, wrong, before, value = sum(y for _, y in rows), [], 0.0, 0.0
            for error, y in sorted(rows, reverse=True):
                wrong.append(y)
                missed, false = wrong.count(1), wrong.count(0)
                now = 1 - (true - missed) / (true + false)
                value, before = value + error * (now - before), now
            per_class.append(value)
            class_weights.append(weights[c])
        per_image.append(np.average(per_class, weights=class_weights))
    return np.mean(per_image)


LOSSES = {
    "cross_entropy": entropies,
    "binary_cross_entropy": entropies,
    "weighted_cross_entropy": entropies,
    "focal": entropies,
    "dice": dice,
    "generalised_dice": generalised_dice,
    "tversky": tversky,
    "focal_tversky": tversky,
    "lovasz": lovasz,
    "bce_dice": bce_dice,
}
