"""Holds the results of a study of skip connections."""

import dataclasses

from unet_jax.analysis.skips.graph import Graph
from unet_jax.analysis.skips.localise import Score
from unet_jax.analysis.skips.similarity import Pair


@dataclasses.dataclass(frozen=True)
class RunResult:
    """Holds a run and its results.

    Attributes:
      name: name of the run.
      workdir: its folder.
      network: name of the network's class.
      step: step of the checkpoint.
      mode: "accurate" or "fast".
      graph: the graph of the network.
      scores: scores with maps replaced; empty where maps were compared.
      pairs: similarities of maps; empty where maps were replaced.
    """

    name: str
    workdir: str
    network: str
    step: int
    mode: str
    graph: Graph
    scores: list[Score]
    pairs: list[Pair]


@dataclasses.dataclass(frozen=True)
class Study:
    """Holds the results of runs on the same images.

    Attributes:
      split: the split.
      num_images: its number of images.
      boundary_distance: distance of boundary IoU from the contour, in image diagonals.
      classes: the reported classes.
      runs: the results of each run.
      versions: versions of the packages.
    """

    split: str
    num_images: int
    boundary_distance: float
    classes: tuple[str, ...]
    runs: list[RunResult]
    versions: dict
