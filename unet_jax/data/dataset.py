"""What the rest of the code knows of a data set: classes, channels, and random access to the examples of each split."""

import dataclasses
from typing import Any

from unet_jax.errors import UserError

SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What the rest of the code knows of a data set.

    `class_names` by id; `channels` and `dtype` ("uint8" or "uint16") of every image; `overlapping`: masks are
    `[H, W, K]` 0/1 and not ids; `fingerprint`: hex hash of contents and config; `palette`: RGB per class or ();
    `remedy`: what gives an empty split examples.
    """

    name: str
    class_names: tuple[str, ...]
    channels: int
    overlapping: bool
    fingerprint: str
    dtype: str
    sources: dict[str, Any] = dataclasses.field(repr=False)
    palette: tuple[tuple[int, int, int], ...] = ()
    remedy: str = "choose one of these"

    @property
    def splits(self) -> dict[str, int]:
        """Number of examples of each split that has any."""
        return {split: len(source) for split, source in self.sources.items()}

    def source(self, split: str) -> Any:
        """Random access to the examples of `split`; raises `UserError` if it is unknown or empty."""
        if split in self.sources:
            return self.sources[split]
        if split in SPLITS:
            raise no_examples(self.name, split, self.splits, self.remedy)
        raise UserError(
            f"data set {self.name!r}: split {split!r} is unknown; {_have(self.splits)}; choose one of these"
        )


def no_examples(name: str, split: str, counts: dict[str, int], remedy: str) -> UserError:
    """What is raised where a split that is wanted has no examples."""
    return UserError(f"data set {name!r}: split {split!r} is empty; {_have(counts)}; {remedy}")


def _have(counts) -> str:
    return f"splits with examples: {', '.join(f'{name} ({count})' for name, count in counts.items()) or 'none'}"
