"""What a study of skip connections finds."""

import dataclasses

from unet_jax.analysis.skips.graph import Graph
from unet_jax.analysis.skips.localise import Score
from unet_jax.analysis.skips.similarity import Pair


@dataclasses.dataclass(frozen=True)
class RunResult:
    """A run and its results: `scores` where maps were replaced, `pairs` where they were compared."""

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
    """The results of runs on the same images."""

    split: str
    num_images: int
    boundary_distance: float
    classes: tuple[str, ...]
    runs: list[RunResult]
    versions: dict
