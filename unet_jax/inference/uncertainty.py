"""How far a prediction can be trusted, from the probabilities of the members that make it: networks, views and heads.

For each pixel, with p the mean probability of the members and p_m that of one of them:

- *predictive entropy* H(p): the whole uncertainty; Lakshminarayanan et al., "Simple and scalable predictive uncertainty
  estimation using deep ensembles" (NeurIPS 2017);
- *mutual information* H(p) - mean of H(p_m): the part on which the members disagree; Smith, Gal, "Understanding measures of
  uncertainty for adversarial example detection" (UAI 2018).

Both are divided by the largest entropy there is, so that they lie in 0..1. With softmax H is the entropy of the classes. With
sigmoid it is the mean over the classes of the entropy of each mask.

For each image, *pairwise Dice*: the mean Dice of the masks of each pair of members, for each class and then over the classes
that are reported; Roy et al., "Bayesian QuickNAT" (NeuroImage 2019), section 2.4. It is 1 where all members agree. A class
that no member finds is left out.

Two members that agree on the half of an object:

>>> probabilities = np.array([[[[0.0, 1.0]] * 2, [[1.0, 0.0]] * 2], [[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0]] * 2]], np.float32)
>>> overlap = overlaps(to_masks(probabilities, "softmax")[0][..., 1:])
>>> overlap[..., 0].tolist(), round(pairwise_dice(overlap), 3)
([[2, 1], [1, 1]], 0.667)
"""

import dataclasses

import numpy as np

from unet_jax.data.datasets.image_rows import ImageRows
from unet_jax.inference.large.scratch import Scratch, band_rows
from unet_jax.inference.segmenter import Segmenter
from unet_jax.segmentation import to_masks

# The fields of `Uncertainty` that are one number for each image.
MEASURES = ("entropy", "mutual_information", "pairwise_dice")

# What is said where only the entropy is known.
ONE_MEMBER = (
    "one network with one head and no views has nobody to disagree with, so only its entropy is written; add --views, more "
    "networks, or mode 'accurate' of a network with several heads for the mutual information and the pairwise Dice"
)


@dataclasses.dataclass(frozen=True)
class Uncertainty:
    """What the members of a prediction say of one image.

    Attributes:
      probabilities: the mean over the members, float32 `[H, W, K]`; the prediction.
      entropy: predictive entropy, the mean over the pixels, 0..1.
      mutual_information: mean over the pixels, 0..1; NaN with one member.
      pairwise_dice: see above, 0..1; NaN with one member, and where no member finds a class.
    """

    probabilities: np.ndarray
    entropy: float
    mutual_information: float
    pairwise_dice: float

    def measures(self) -> dict[str, float]:
        """Returns `MEASURES` by name."""
        return {name: getattr(self, name) for name in MEASURES}


def estimate(segmenter: Segmenter, rows: ImageRows) -> Uncertainty:
    """Predicts an image with every member, and measures how far they agree.

    Needs no more memory for a large image: probabilities and masks are kept in files then; see `Scratch`.

    Args:
      segmenter: predicts.
      rows: the image.
    """
    (height, width, _), num_members = rows.shape, segmenter.num_members
    channels, activation = segmenter.report_channels, segmenter.activation
    mean = Scratch((height, width, len(segmenter.class_names)), np.float32)
    # One bit for each class.
    masks = Scratch((num_members if num_members > 1 else 0, height, width, -(-len(channels) // 8)), np.uint8)
    entropy_of_members = 0.0
    for band in segmenter.member_bands(rows):
        seen = slice(band.start, band.start + len(band.probabilities))
        part = band.view.apply(mean.array)[seen]
        part += np.float32(band.weight) * band.probabilities
        if num_members > 1:
            entropy_of_members += band.weight * float(
                np.nansum(entropy(band.probabilities, activation), dtype=np.float64)
            )
            found = to_masks(band.probabilities, activation)[0][..., channels]
            band.view.apply(masks.array[band.member])[seen] = np.packbits(found, axis=-1)
        mean.release()
        masks.release()

    size, total, overlap = 0, 0.0, np.zeros((num_members, num_members, len(channels)), np.int64)
    for start, stop in band_rows(height, mean.array[0].nbytes + masks.array[:, 0].nbytes):
        entropies = entropy(mean.array[start:stop], activation)
        total += float(np.nansum(entropies, dtype=np.float64))
        # Of pixels that the image does not know, see `nan_pixels`, all is NaN.
        size += int(np.isfinite(entropies).sum())
        if num_members > 1:
            overlap += overlaps(np.unpackbits(masks.array[:, start:stop], axis=-1, count=len(channels)))
        mean.release()
        masks.release()
    # Of an image without any pixel that is known, the sum is 0.
    size = max(size, 1)
    if num_members == 1:
        return Uncertainty(mean.array, total / size, float("nan"), float("nan"))
    # It is never below 0, but rounding is.
    information = max(total - entropy_of_members, 0.0) / size
    return Uncertainty(mean.array, total / size, information, pairwise_dice(overlap))


def entropy(probabilities: np.ndarray, activation: str) -> np.ndarray:
    """Returns the entropy of each pixel, divided by the largest there is: float32 `[...]` in 0..1.

    >>> entropy(np.array([[0.5, 0.5], [1.0, 0.0]]), "softmax").tolist()
    [1.0, 0.0]

    Args:
      probabilities: `[..., K]`.
      activation: "softmax" for the entropy of the classes, "sigmoid" for the mean over the masks.
    """
    p = np.clip(probabilities.astype(np.float32), 0, 1)
    if activation == "softmax":
        values = _information(p).sum(-1) / np.float32(np.log(p.shape[-1]))
    else:
        values = (_information(p) + _information(1 - p)).mean(-1) / np.float32(np.log(2))
    return np.clip(values, 0, 1)


def _information(p: np.ndarray) -> np.ndarray:
    """Returns -p log p, which is 0 at 0."""
    return -p * np.log(np.where(p > 0, p, 1))


def overlaps(masks: np.ndarray) -> np.ndarray:
    """Counts the pixels that two members share.

    Args:
      masks: of each member, 0 or 1 `[M, ..., K]`; fewer than 2^24 pixels.

    Returns:
      int64 `[M, M, K]`; on the diagonal the pixels of each member.
    """
    flat = masks.reshape(len(masks), -1, masks.shape[-1]).transpose(2, 0, 1).astype(np.float32)
    return (flat @ flat.transpose(0, 2, 1)).transpose(1, 2, 0).astype(np.int64)


def pairwise_dice(overlap: np.ndarray) -> float:
    """Returns the mean Dice of all pairs of members: over the pairs of each class, then over the classes that are found.

    Args:
      overlap: the result of `overlaps` for two or more members.

    Returns:
      0 to 1; NaN where no member finds a class.
    """
    first, second = np.triu_indices(len(overlap), 1)
    sizes = np.einsum("mmk->mk", overlap)
    both, either = overlap[first, second], sizes[first] + sizes[second]
    of_classes = [(2 * both[known, k] / either[known, k]).mean() for k, known in enumerate(either.T > 0) if known.any()]
    return float(np.mean(of_classes)) if of_classes else float("nan")
