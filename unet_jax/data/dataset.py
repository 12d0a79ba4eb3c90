"""Describes a data set to the rest of the code: classes, channels, and random access to the examples of each split."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from unet_jax.errors import UserError

SPLITS = ("train", "val", "test")


class ExampleSource(Protocol):
    """Gives random access to the Examples of a split: `len(source)` and `source[index]`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Describes a data set and gives its examples.

    Attributes:
      name: name in the table of data sets.
      class_names: names by class id.
      channels: number of channels of every image.
      overlapping: True where masks are `[H, W, K]` 0/1, False where they are ids `[H, W]`.
      fingerprint: hash of the contents and the config, in hex digits.
      dtype: pixel type of every image, "uint8", "uint16" or "float32".
      sources: the examples of each split that has any.
      palette: RGB colour of each class, or ().
      remedy: last part of the error about an empty split; names the setting that gives it examples.
    """

    name: str
    class_names: tuple[str, ...]
    channels: int
    overlapping: bool
    fingerprint: str
    dtype: str
    sources: Mapping[str, ExampleSource] = dataclasses.field(repr=False)
    palette: tuple[tuple[int, int, int], ...] = ()
    remedy: str = "choose one of them"

    @property
    def splits(self) -> dict[str, int]:
        """Returns the number of examples of each split that has any."""
        return {split: len(source) for split, source in self.sources.items()}

    def source(self, split: str) -> ExampleSource:
        """Returns the examples of `split`.

        Raises:
          UserError: the split is unknown or empty.
        """
        if split in self.sources:
            return self.sources[split]
        if split in SPLITS:
            raise empty_split_error(self.name, split, self.splits, self.remedy)
        raise UserError(f"data set {self.name!r}: split {split!r} is unknown; {_have(self.splits)}; choose one of them")


def empty_split_error(name: str, split: str, counts: dict[str, int], remedy: str) -> UserError:
    """Returns the error for a split that is needed and has no examples."""
    return UserError(f"data set {name!r}: split {split!r} is empty; {_have(counts)}; {remedy}")


def _have(counts) -> str:
    return f"splits with examples: {', '.join(f'{name} ({count})' for name, count in counts.items()) or 'none'}"
