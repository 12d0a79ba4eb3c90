"""Scores of plates of an evaluation: their number, tips and overhang; see `scores`."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unet_jax.data.dataset import ExampleSource
from unet_jax.measurement.plates import intervals
from unet_jax.measurement.plates.find import find_plates
from unet_jax.measurement.plates.roles import Roles
from unet_jax.measurement.plates.scores import ImageScores, Signed, score_image, summarize
from unet_jax.measurement.plates.truth import check_has_plates, true_plates

# Of the names of scores among those of all groups.
PREFIX = "plates/"
# Lists of an image that become rows of fixed length.
LISTS = ("anode_placed", "cathode_placed", "unsigned", "matched", *Signed._fields)
# Of each image, the scores that its row has.
ROW_SCORES = ("tip/mean", "tip/coverage", "overhang/mean", "overhang/sign", "overhang/coverage")


@dataclasses.dataclass(frozen=True)
class PlateGroup:
    """Scores plates; see `evaluation.group.Group`.

    Attributes:
      roles: the classes of the plates and of the stack.
      class_names: all classes.
      most: the largest number of true plates of an image.
      factor: of the intervals, see `intervals`; NaN for none.
    """

    roles: Roles
    class_names: Sequence[str]
    most: int
    factor: float = math.nan
    name: str = "plates"
    needs_probabilities: bool = True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of `ImageScores`; lists are filled up with NaN."""
        numbers = {"num_found": (2,), "num_true": (2,), "num_tips": (), "num_overhangs": ()}
        return numbers | dict.fromkeys(LISTS, (self.most,))

    def count(
        self, example: Mapping[str, Any], masks: np.ndarray, probabilities: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        """Finds the plates of one image, and compares them with the true ones; see `Group.count`."""
        assert probabilities is not None
        channels, stack = self.roles.channels(self.class_names)
        found = find_plates(masks, probabilities, channels, stack).plates
        scored = score_image(found, true_plates(example, self.roles, self.class_names))
        numbers = ("num_found", "num_true", "num_tips", "num_overhangs")
        lists = {
            "anode_placed": scored.placed[0] or (),
            "cathode_placed": scored.placed[1] or (),
            "unsigned": scored.unsigned or (),
            "matched": scored.matched,
        }
        lists |= {name: [getattr(pair, name) for pair in scored.overhangs] for name in Signed._fields}
        counted = {name: np.asarray(getattr(scored, name), np.float64) for name in numbers}
        return counted | {
            name: np.pad(values, (0, self.most - len(values)), constant_values=np.nan) for name, values in lists.items()
        }

    def summarize(self, counts: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns the scores of `scores.summarize`, named `plates/...`."""
        summary = summarize(_decode(counts), num_kinds=len(self.roles.plates), factor=self.factor)
        return {f"{PREFIX}{name}": value for name, value in summary.items()}

    def rows(self, counts: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
        """Returns the numbers of plates of each image, and `ROW_SCORES`."""
        rows = []
        for image in _decode(counts):
            row: dict[str, float] = {}
            for kind, name in enumerate(self.roles.plates):
                row |= {f"{PREFIX}num_true/{name}": image.num_true[kind]}
                row |= {f"{PREFIX}num_predicted/{name}": image.num_found[kind]}
            scores = summarize([image], num_kinds=len(self.roles.plates))
            rows.append(row | {f"{PREFIX}{name}": scores[name] for name in ROW_SCORES if name in scores})
        return rows


@dataclasses.dataclass(frozen=True)
class FactorGroup(PlateGroup):
    """Fits the factor of the intervals of overhangs; see `intervals`."""

    name: str = "plate_intervals"

    def summarize(self, counts: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns the `factor`, and `num_overhangs` that gave it."""
        pairs = [pair for image in _decode(counts) for pair in image.overhangs]
        factor = intervals.fit_factor([pair.found - pair.true for pair in pairs], [pair.scale for pair in pairs])
        return {"factor": factor, "num_overhangs": len(pairs)}

    def rows(self, counts: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
        """Returns nothing for each image."""
        return [{} for _ in counts["num_tips"]]


def most_plates(source: ExampleSource, roles: Roles, class_names: Sequence[str]) -> int:
    """Returns the largest number of true plates of an image, at least 1.

    Raises:
      UserError: see `check_has_plates`.
    """
    check_has_plates(source)
    return max([1, *(len(true_plates(source[index], roles, class_names)) for index in range(len(source)))])


def _decode(counts: Mapping[str, np.ndarray]) -> list[ImageScores]:
    """Returns the scores of each image; the counts are stacked, `[N, ...]`."""
    images = []
    for i in range(len(counts["num_tips"])):
        lists = {name: counts[name][i][~np.isnan(counts[name][i])].tolist() for name in LISTS}
        found, true = (tuple(counts[name][i].astype(int).tolist()) for name in ("num_found", "num_true"))
        images.append(
            ImageScores(
                num_found=found,
                num_true=true,
                placed=(lists["anode_placed"], lists["cathode_placed"]),
                unsigned=lists["unsigned"],
                matched=lists["matched"],
                overhangs=[Signed(*values) for values in zip(*(lists[name] for name in Signed._fields), strict=True)],
                num_tips=int(counts["num_tips"][i]),
                num_overhangs=int(counts["num_overhangs"][i]),
            )
        )
    return images
