"""A reliability picture: of the predictions with a confidence, the fraction that is right."""

import os
from collections.abc import Sequence

import numpy as np

from unet_jax.plotting.figures import COLOURS, new_figure, save_figure


def save_reliability(
    path: str | os.PathLike, confidence: Sequence[float], right: Sequence[float], fraction: Sequence[float], title: str
) -> None:
    """Draws what is right over the confidence, and below it how many predictions there are; writes a PNG.

    Args:
      path: the file.
      confidence: the mean confidence of each bin; NaN without predictions.
      right: the fraction of each bin that is right; NaN without predictions.
      fraction: the fraction of all predictions that is in each bin.
      title: of the picture.

    Raises:
      OSError: the file cannot be written.
    """
    figure = new_figure(4.5, 5.5)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    edges = np.linspace(0, 1, len(fraction) + 1)
    upper.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="calibrated")
    upper.plot(confidence, right, "o-", color=COLOURS[0], markersize=4, label="measured")
    upper.set(ylabel="fraction right", title=title, xlim=(0, 1), ylim=(0, 1))
    upper.legend(loc="upper left", frameon=False)
    lower.bar(edges[:-1], fraction, width=np.diff(edges), align="edge", color=COLOURS[0], edgecolor="white")
    lower.set(xlabel="confidence", ylabel="of all")
    save_figure(figure, path)
