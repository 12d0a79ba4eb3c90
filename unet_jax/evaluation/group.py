"""The interface of a group of scores that look at a whole image, in addition to the scores of its pixels.

`evaluate` counts every image, adds the counts over the processes, and lets the group turn them into scores.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np


class Group(Protocol):
    """A group of scores."""

    @property
    def name(self) -> str:
        """The name of the group, as in `--metrics`."""
        ...

    @property
    def needs_probabilities(self) -> bool:
        """True if masks are not enough; images are then predicted one by one."""
        ...

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each count of one image, by its name."""
        ...

    def count(
        self, example: Mapping[str, Any], masks: np.ndarray, probabilities: np.ndarray | None
    ) -> Mapping[str, np.ndarray]:
        """Counts one image.

        Args:
          example: the Example, with the truth.
          masks: the prediction, bool `[H, W, K]`.
          probabilities: float32 `[H, W, K]`; None unless the group needs them.

        Returns:
          The counts of `shapes`.
        """
        ...

    def summarize(self, counts: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Returns the scores of N images, by name; the counts are stacked, `[N, ...]`."""
        ...

    def rows(self, counts: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
        """Returns the scores of each of N images, by name; the counts are stacked, `[N, ...]`."""
        ...
