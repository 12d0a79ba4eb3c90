"""Finds objects in masks: connected components, with holes filled, touching ones split and small ones dropped on request."""

import dataclasses

import numpy as np

from unet_jax.errors import UserError
from unet_jax.evaluation.border_objects import growth
from unet_jax.inference.large.scratch import Scratch
from unet_jax.measurement.components import ComponentLabeller, Labels, fill_holes, grow
from unet_jax.measurement.watershed import DEPTHS, check_memory, distance_map, split


@dataclasses.dataclass(frozen=True)
class Options:
    """How masks become objects. The steps are done in the order of the attributes.

    Attributes:
      connectivity: 1: pixels that share an edge are of one object; 2: those that share a corner, too.
      fill_holes: fills what an object encloses. A hole at the border of the image is open. With a class inside another, the
        pixels then belong to an object of both.
      split: splits objects that touch, by a watershed; "distance": on the distance to the border; "probability": on the
        network's probability of the class; "": not at all.
      split_depth: two tops are two objects if the saddle between them lies more than this below the lower one: in pixels for
        "distance", from 0 to 1 for "probability"; 0 for `DEPTHS`.
      min_area: drops objects of fewer pixels.

    Raises:
      UserError: a value is not allowed.
    """

    connectivity: int = 2
    fill_holes: bool = False
    split: str = ""
    split_depth: float = 0.0
    min_area: int = 0

    def __post_init__(self) -> None:
        if self.connectivity not in (1, 2):
            raise UserError(
                f"--connectivity={self.connectivity}: give 1, where pixels of an object share edges, or 2, where they may share "
                "corners only"
            )
        if self.split and self.split not in DEPTHS:
            raise UserError(f"--split={self.split} is unknown; give one of {', '.join(DEPTHS)}")
        if not 0 <= self.split_depth < np.inf:
            raise UserError(f"--split_depth={self.split_depth}: give a number above 0, or leave it out")
        if self.split_depth and not self.split:
            raise UserError(f"--split_depth={self.split_depth}: nothing is split; add --split={'|'.join(DEPTHS)}")
        if self.split == "probability" and self.split_depth >= 1:
            raise UserError(
                f"--split_depth={self.split_depth:g}: a probability is at most 1, so nothing would be split; give a number below 1"
            )
        if self.min_area < 0:
            raise UserError(f"--min_area={self.min_area}: give a number of pixels, 0 or more")

    @property
    def depth(self) -> float:
        """The depth of a saddle that parts two objects."""
        return self.split_depth or DEPTHS[self.split]


DEFAULT = Options()


class ObjectFinder:
    """Finds the objects of each class of an image that comes in bands.

    >>> finder = ObjectFinder((1, 4), 1, Options())
    >>> finder.add(0, np.array([[[True], [False], [True], [True]]]))
    >>> [labels.read(0, 1).tolist() for labels in finder.finish()]
    [[[1, 0, 2, 2]]]

    Args:
      size: height and width of the image.
      num_classes: the number of masks.
      options: how masks become objects.
      budget: the bytes that a watershed may take.
      border_width: of masks with borders (`unet_jax.data.store.borders`), whose interiors grow before small objects are dropped; 0
        for other masks.

    Raises:
      UserError: a watershed of the image would take more.
    """

    def __init__(
        self,
        size: tuple[int, int],
        num_classes: int,
        options: Options,
        budget: float = np.inf,
        border_width: float = 0.0,
    ):
        self._options = options
        self._ground = Scratch(size, bool) if border_width else None
        self._steps = growth(border_width)
        # With holes to fill, what is not in the mask is labelled first.
        connectivity = 3 - options.connectivity if options.fill_holes else options.connectivity
        self._heights: np.ndarray | None = None
        if options.split:
            check_memory(*size, num_classes if options.split == "probability" else 0, budget)
        if options.split == "probability":
            self._heights = np.zeros((num_classes, *size), np.float32)
        self._labellers = [ComponentLabeller(*size, connectivity) for _ in range(num_classes)]

    def add(
        self,
        start: int,
        masks: np.ndarray,
        probabilities: np.ndarray | None = None,
        ground: np.ndarray | None = None,
    ) -> None:
        """Adds a band; bands are added from the first row to the last.

        Args:
          start: its first row.
          masks: bool `[b, W, K]`; with a border, the interiors.
          probabilities: float32 `[b, W, K]`, for `split="probability"`.
          ground: with a border, the pixels that interiors may grow into, bool `[b, W]`.
        """
        if self._ground is not None and ground is not None:
            self._ground.array[start : start + len(ground)] = ground
            self._ground.release()
        for labeller, mask in zip(self._labellers, np.moveaxis(masks, -1, 0), strict=True):
            labeller.add(start, ~mask if self._options.fill_holes else mask)
        if self._heights is not None:
            if probabilities is None:
                raise UserError("--split=probability: true masks have no probabilities; give --split=distance")
            self._heights[:, start : start + len(masks)] = np.moveaxis(probabilities, -1, 0)

    def finish(self) -> list[Labels]:
        """Returns the objects of each class."""
        return [self._finish(number) for number in range(len(self._labellers))]

    def _finish(self, number: int) -> Labels:
        options = self._options
        labels = self._labellers[number].finish()
        if options.fill_holes:
            labels = fill_holes(labels, options.connectivity)
        if options.split:
            mask = labels.read(0, labels.shape[0]) > 0
            heights = distance_map(mask) if self._heights is None else self._heights[number]
            labels = split(mask, heights, options.depth, options.connectivity)
        if self._ground is not None:
            labels = grow(labels, self._ground, self._steps)
        return labels.keep(labels.areas >= options.min_area) if options.min_area > 1 else labels
