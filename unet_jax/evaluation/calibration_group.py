"""Scores of the probabilities of an evaluation, and the fit of a temperature to them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from unet_jax.evaluation import calibration
from unet_jax.evaluation.fit_temperature import Sample, fit_temperature, sample
from unet_jax.inference.large.scratch import band_rows

# Pixels of all images from which a temperature is fitted.
MOST_PIXELS = 200_000


@dataclasses.dataclass(frozen=True)
class CalibrationGroup:
    """Scores probabilities; see `group.Group` and `calibration`.

    Attributes:
      activation: "softmax" or "sigmoid".
    """

    activation: str
    name: str = "calibration"
    needs_probabilities: bool = True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of `calibration.counts`."""
        return dict.fromkeys(calibration.COUNTS, ()) | dict.fromkeys(calibration.BINNED, (calibration.NUM_BINS,))

    def count(
        self, example: Mapping[str, Any], masks: np.ndarray, probabilities: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        """Counts the predictions of one image, some rows at a time; see `Group.count`."""
        assert probabilities is not None
        totals: dict[str, Any] = dict.fromkeys(calibration.COUNTS, 0)
        for start, stop in band_rows(len(probabilities), probabilities[0].nbytes):
            part = calibration.counts(probabilities[start:stop], example["mask"][start:stop], self.activation)
            totals = {name: total + part[name] for name, total in totals.items()}
        return totals

    def summarize(self, counts: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns `ece`, `brier` and `nll` of all predictions, and the `reliability` of each bin."""
        pooled = {name: values.sum(0) for name, values in counts.items()}
        names = ("confidence", "right", "fraction")
        bins = dict(zip(names, (values.tolist() for values in calibration.reliability(pooled)), strict=True))
        return {name: float(value) for name, value in calibration.scores(pooled).items()} | {"reliability": bins}

    def rows(self, counts: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
        """Returns `ece`, `brier` and `nll` of each image."""
        scored = calibration.scores(counts)
        return [{name: float(values[i]) for name, values in scored.items()} for i in range(len(counts["nll"]))]


@dataclasses.dataclass(frozen=True)
class TemperatureGroup:
    """Fits a temperature to evenly spaced pixels of all images; see `group.Group` and `fit_temperature`.

    Attributes:
      activation: "softmax" or "sigmoid".
      num_classes: K.
      num_images: N, of the split.
    """

    activation: str
    num_classes: int
    num_images: int
    name: str = "temperature"
    needs_probabilities: bool = True

    @property
    def _most(self) -> int:
        """The largest number of pixels of an image."""
        return max(MOST_PIXELS // self.num_images, 1)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of a sample; its rows beyond the number of its pixels are 0."""
        return {
            "probabilities": (self._most, self.num_classes),
            "truth": (self._most, self.num_classes),
            "num": (),
            "weight": (),
        }

    def count(
        self, example: Mapping[str, Any], masks: np.ndarray, probabilities: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        """Takes the sample of one image; see `Group.count`."""
        assert probabilities is not None
        taken = sample(probabilities, example["mask"], self._most)
        rest = ((0, self._most - len(taken.truth)), (0, 0))
        arrays = {"probabilities": np.pad(taken.probabilities, rest), "truth": np.pad(taken.truth, rest)}
        return arrays | {"num": np.asarray(len(taken.truth)), "weight": np.asarray(taken.weight)}

    def summarize(self, counts: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns the `temperature`."""
        samples = [
            Sample(p[: int(num)], truth[: int(num)] > 0, float(weight))
            for p, truth, num, weight in zip(*(counts[name] for name in self.shapes()), strict=True)
        ]
        return {"temperature": fit_temperature(samples, self.activation)}

    def rows(self, counts: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
        """Returns nothing for each image."""
        return [{} for _ in counts["num"]]
