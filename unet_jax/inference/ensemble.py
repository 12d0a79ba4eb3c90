"""Prediction with several networks, several views of the image, or both: the mean of their probabilities.

The members of an ensemble are networks x views x heads. Each network and each view has the same weight; within a network the
weight is shared by its heads, as in the mode "accurate" of one network.

The mean over networks that were trained from different seeds is the ensemble of Lakshminarayanan, Pritzel, Blundell, "Simple
and scalable predictive uncertainty estimation using deep ensembles" (NeurIPS 2017).
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from unet_jax.data.datasets.image_rows import ArrayRows, ImageRows
from unet_jax.errors import UserError
from unet_jax.inference.large.scratch import Scratch, band_rows
from unet_jax.inference.predictor import Predictor
from unet_jax.inference.segmenter import MemberBand, Segmenter
from unet_jax.inference.views import IDENTITY, View, ViewRows, named_views

# What the networks of an ensemble must have in common, with its name in messages.
COMMON = {
    "class_names": "the classes",
    "report_classes": "eval.classes",
    "channels": "the channels of the images",
    "activation": "model.activation",
    "normalize": "data.normalize",
    "value_range": "data.range",
    "nan": "data.nan",
    "dtype": "the pixel type of the images",
}


class Ensemble(Segmenter):
    """Several networks, or several views of an image, that predict together.

    `unet_jax.load` makes one of several runs, or of one run with views.

    Args:
      predictors: the networks.
      views: the name of the views that each network gets; see `views.VIEWS`.
      names: of the networks, for messages; by default their numbers.

    Attributes:
      predictors: the networks.
      view_set: the name of the views.
      views: the views that each network gets.

    Raises:
      UserError: no network is given, their classes, images or options differ, or the name of the views is unknown.
    """

    def __init__(self, predictors: Sequence[Predictor], views: str = "", names: Sequence[str] = ()):
        self.predictors = tuple(predictors)
        if not self.predictors:
            raise UserError("no network is given; an ensemble needs at least one")
        check_alike(self.predictors, names or [f"network {number}" for number in range(len(self.predictors))])
        self.view_set, self.views = views, named_views(views)
        first = self.predictors[0]
        self.class_names, self.report_classes = first.class_names, first.report_classes
        self.channels, self.normalize = first.channels, first.normalize
        self.value_range, self.nan = first.value_range, first.nan
        # A run of an earlier version may not have recorded it.
        self.dtype = next((predictor.dtype for predictor in self.predictors if predictor.dtype), "")

    @property
    def activation(self) -> str:
        """How logits become probabilities: "softmax" or "sigmoid"."""
        return self.predictors[0].activation

    @property
    def num_compiled(self) -> int:
        """The number of shapes of batches that were compiled, over all networks."""
        programs = set().union(*(predictor.programs for predictor in self.predictors))
        return sum(len(program.shapes) for program in programs)

    @property
    def num_members(self) -> int:
        """The number of predictions that are averaged: networks x views x heads."""
        return len(self.views) * sum(predictor.num_members for predictor in self.predictors)

    @property
    def parts(self) -> list[dict[str, Any]]:
        """How images that did not fit into the memory were predicted, with the number of the `network`; see `Segmenter.parts`.

        A view that swaps height and width counts as an image of that size.
        """
        return [
            {"network": number, **part} for number, predictor in enumerate(self.predictors) for part in predictor.parts
        ]

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the height and width to which the first network pads an image of this size."""
        return self.predictors[0].padded_size(height, width)

    def predict_images(self, images: Sequence[np.ndarray], batch_size: int = 0) -> list[np.ndarray]:
        """Returns the probabilities of each image, float32 `[h, w, K]`; see `Segmenter.predict_images`."""
        arrays = [self.check(image) for image in images]
        totals = [np.zeros((*array.shape[:2], len(self.class_names)), np.float32) for array in arrays]
        for predictor, view in itertools.product(self.predictors, self.views):
            predicted = predictor.predict_images([view.apply(array) for array in arrays], batch_size)
            for total, probabilities in zip(totals, predicted, strict=True):
                total += view.invert(probabilities)
        return [total / np.float32(self._num_passes) for total in totals]

    def bands(self, rows: ImageRows) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (first row, probabilities float32 `[b, W, K]`) of an image; see `Segmenter.bands`.

        The sum of the probabilities is kept in a `Scratch`. The first band comes when all networks and views are done.
        """
        height, width, _ = rows.shape
        total = Scratch((height, width, len(self.class_names)), np.float32)
        for predictor, (view, seen) in itertools.product(self.predictors, self._views_of(rows)):
            for start, probabilities in predictor.bands(seen):
                part = view.apply(total.array)[start : start + len(probabilities)]
                part += probabilities
                total.release()
        for start, stop in band_rows(height, total.array[0].nbytes):
            yield start, total.array[start:stop] / np.float32(self._num_passes)
            total.release()

    def member_bands(self, rows: ImageRows) -> Iterator[MemberBand]:
        """Yields the probabilities of every member; see `Segmenter.member_bands`."""
        first = 0
        for predictor, (view, seen) in itertools.product(self.predictors, self._views_of(rows)):
            for band in predictor.member_bands(seen):
                weight = band.weight / self._num_passes
                yield band._replace(member=first + band.member, weight=weight, view=view)
            first += predictor.num_members

    @property
    def _num_passes(self) -> int:
        return len(self.predictors) * len(self.views)

    def _views_of(self, rows: ImageRows) -> list[tuple[View, ImageRows]]:
        """Returns each view, and the image in this view.

        A flip is read from the image, band by band. A turn needs its columns: it is taken of an image in memory, or else of a
        copy in a `Scratch`.
        """
        if any(view.transposed for view in self.views):
            array = rows.read(0, rows.shape[0]) if isinstance(rows, ArrayRows) else _copy(rows)
            return [(view, ArrayRows(view.apply(array))) for view in self.views]
        return [(view, rows if view == IDENTITY else ViewRows(rows, view)) for view in self.views]


def check_alike(predictors: Sequence[Predictor], names: Sequence[str]) -> None:
    """Checks that networks can predict together.

    Args:
      predictors: the networks.
      names: of the networks, for the message.

    Raises:
      UserError: they have other classes, or take other images; see `COMMON`.
    """
    for key, what in COMMON.items():
        values = [getattr(predictor, key) for predictor in predictors]
        # "" is a pixel type that is not known.
        known = [(name, value) for name, value in zip(names, values, strict=True) if value != ""]
        for name, value in known[1:]:
            if value != known[0][1]:
                raise UserError(
                    f"{what}: {_text(known[0][1])} in {known[0][0]}, and {_text(value)} in {name}; the networks of an ensemble "
                    "must have the same: leave one out"
                )


def _text(value: object) -> str:
    return ", ".join(map(str, value)) or "()" if isinstance(value, tuple) else str(value)


def _copy(rows: ImageRows) -> np.ndarray:
    """Returns an image as an array, in a file if it is large."""
    copy = Scratch(rows.shape, rows.dtype)
    for start, stop in band_rows(rows.shape[0], copy.array[0].nbytes):
        copy.array[start:stop] = rows.read(start, stop)
        copy.release()
    return copy.array
