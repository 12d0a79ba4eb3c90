"""Pairs the files of an image, its mask and its instances by their names.

A pattern such as `{stem}_mask` says how the files of a folder are named: `{stem}` stands for what the names of an image and its
mask have in common, the id of the example.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Sequence

from unet_jax.errors import UserError

STEM = "{stem}"
# Names that an error lists.
NEAREST = 3
# Names among which near ones are looked for; to compare all of a large folder takes minutes.
COMPARED = 2000


@dataclasses.dataclass(frozen=True)
class Patterns:
    """How the files of each folder are named, without their suffixes.

    Attributes:
      images: of the images.
      masks: of the masks.
      instances: of the instances.

    Raises:
      UserError: a pattern does not hold `{stem}` once, or is no name of a file.
    """

    images: str = STEM
    masks: str = STEM
    instances: str = STEM

    def __post_init__(self):
        for option, pattern in zip(
            ("image_name", "mask_name", "instance_name"), dataclasses.astuple(self), strict=True
        ):
            if pattern.count(STEM) != 1 or "/" in pattern:
                raise UserError(
                    f"data.{option}={pattern!r} must be the name of a file without folder and suffix, with {STEM} once for the "
                    f"part that image and mask have in common; for example '{STEM}_mask'"
                )


def id_in(name: str, pattern: str) -> str:
    """Returns what `{stem}` stands for in the name of a file without suffix, or "" if the name does not fit.

    >>> id_in("cell_7_mask", "{stem}_mask"), id_in("cell_7", "{stem}_mask")
    ('cell_7', '')
    """
    before, after = pattern.split(STEM)
    fits = name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
    return name[len(before) : len(name) - len(after)] if fits else ""


def name_of(id_: str, pattern: str) -> str:
    """Returns the name without suffix of the file of an id."""
    return pattern.replace(STEM, id_)


def describe_nearest(name: str, names: Sequence[str]) -> str:
    """Returns the names that are most like one, as part of a message; "" where none is.

    >>> describe_nearest("cell_07", ["cell_7", "cell_8", "plate"])
    ", but there are 'cell_7', 'cell_8'"
    """
    near = difflib.get_close_matches(name, names[:COMPARED], NEAREST)
    verb = "is" if len(near) == 1 else "are"
    return f", but there {verb} {', '.join(map(repr, near))}" if near else ""


def suggest(images: Iterable[str], others: Sequence[str]) -> tuple[str, str] | None:
    """Returns the patterns of two folders under which every image has a partner; None if none are found.

    >>> suggest(["image_001", "image_002"], ["mask_001", "mask_002"])
    ('image_{stem}', 'mask_{stem}')
    >>> suggest(["001", "002"], ["001_mask", "002_mask"])
    ('{stem}', '{stem}_mask')

    Args:
      images: names of the images without partner, without suffixes.
      others: names of the files of the other folder without image.
    """
    images, names = list(images), set(others)
    if not images:
        return None
    first = images[0]
    candidates = [(STEM, other.replace(first, STEM, 1)) for other in others[:COMPARED] if first in other]
    for number in re.findall(r"\d+", first):
        pattern = first.replace(number, STEM, 1)
        candidates += [(pattern, other.replace(number, STEM, 1)) for other in others[:COMPARED] if number in other]
    for of_images, of_others in dict.fromkeys(candidates):
        ids = [id_in(name, of_images) for name in images]
        if all(id_ and name_of(id_, of_others) in names for id_ in ids):
            return of_images, of_others
    return None
