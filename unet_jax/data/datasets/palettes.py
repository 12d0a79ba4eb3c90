"""Turns colours in masks into class ids, and compares the palettes of the indexed masks of a folder.

An indexed file (PNG, BMP, TIFF) stores an index for each pixel, and a palette with the colour of each index. Editors and
optimisers reorder a palette; then the colours stay and the indices change.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from unet_jax.errors import UserError, raise_error
from unet_jax.segmentation import VOID_ID

Palette = Sequence[Sequence[int]]
# RGB by index.
Colours = Mapping[int, tuple[int, ...]]


def few(values: Sequence, most: int = 8) -> str:
    """Returns the first values as text, and the number of all if there are more.

    >>> few([3, 4, 5], most=2)
    '3, 4, ... (3 in all)'
    """
    values = [v if isinstance(v, tuple) else int(v) for v in values]
    listed = ", ".join(map(str, values[:most]))
    return f"{listed}, ... ({len(values)} in all)" if len(values) > most else listed


def rgb_to_ids(values: np.ndarray, path: str, palette: Palette) -> np.ndarray:
    """Returns the class ids of an RGB mask, uint8 `[H, W]`.

    Args:
      values: uint8 `[H, W, 3]`.
      path: name of the file, for errors.
      palette: RGB triples by class id.

    Raises:
      UserError: there is no palette, or a colour is not in it.
    """
    packed, inverse = np.unique(_pack(values), return_inverse=True)
    colours = [tuple(int(c >> shift & 255) for shift in (16, 8, 0)) for c in packed]
    if not palette:
        raise UserError(
            f"{path}: is an RGB mask (colours {few(colours)}), but no palette is given; "
            "set palette to the RGB triple of each class, or save class ids as 8-bit grey"
        )
    table = {tuple(map(int, colour)): index for index, colour in enumerate(palette)}
    unknown = [colour for colour in colours if colour not in table]
    if unknown:
        raise UserError(f"{path}: holds colours {few(unknown)} that are not in palette; add them or correct the mask")
    return np.array([table[c] for c in colours], np.uint8)[inverse.reshape(values.shape[:2])]


def indices_to_ids(
    indices: np.ndarray, present: Sequence[int], colours: np.ndarray, path: str, palette: Palette
) -> np.ndarray:
    """Returns the class ids of an indexed mask by the colours of its indices, uint8 `[H, W]`.

    Index 255 is void unless its colour is in the palette.

    Args:
      indices: `[H, W]`.
      present: the indices that occur.
      colours: the file's palette, uint8 `[N, 3]`.
      path: name of the file, for errors.
      palette: RGB triples by class id.

    Raises:
      UserError: a colour that occurs is not in `palette`.
    """
    class_of = {tuple(map(int, colour)): id_ for id_, colour in enumerate(palette)}
    table, unknown = np.zeros(256, np.uint8), []
    by_index = colours_of(present, colours)
    for index in present:
        if by_index.get(index) in class_of:
            table[index] = class_of[by_index[index]]
        elif index == VOID_ID:
            table[index] = VOID_ID
        else:
            unknown.append(by_index.get(index, index))
    if unknown:
        raise UserError(
            f"{path}: is an indexed mask with the colours {few(unknown)}, which are not in palette; add them or correct the "
            "mask. If its indices are the ids, set no palette"
        )
    return table[indices]


def grey_levels(
    present: Sequence[int], colours: np.ndarray, path: str, mask_values: Sequence[int]
) -> np.ndarray | None:
    """Returns the grey level of each index, `[256]`, if `mask_values` mean levels; None if they mean indices.

    They mean levels if the palette is grey and the levels, but not the indices, are in `mask_values`.

    Args:
      present: the indices that occur.
      colours: the file's palette, uint8 `[N, 3]`.
      path: name of the file, for errors.
      mask_values: values by class id.

    Raises:
      UserError: both are in `mask_values`, and give different classes.
    """
    by_index = colours_of(present, colours)
    if len(by_index) < len(present) or any(len(set(colour)) > 1 for colour in by_index.values()):
        return None
    levels = np.zeros(256, np.uint8)
    for index, colour in by_index.items():
        levels[index] = colour[0]
    values = set(mask_values)
    for allowed in (values, values | {VOID_ID}):
        fits = set(present) <= allowed, {int(levels[index]) for index in present} <= allowed
        if all(fits) and any(levels[index] != index for index in present):
            raise UserError(
                f"{path}: is an indexed mask; its indices {few(present)} and their grey levels "
                f"{few([levels[index] for index in present])} are both in mask_values; save it as 8-bit grey"
            )
        if any(fits):
            return None if fits[0] else levels
    return None


def colours_of(present: Sequence[int], colours: np.ndarray) -> dict[int, tuple[int, ...]]:
    """Returns RGB by index, for the indices that occur and have a colour."""
    return {int(index): tuple(map(int, colours[index])) for index in present if index < len(colours)}


def check_orders(colours: Mapping[str, Colours], on_error: Callable[[UserError], None] = raise_error) -> None:
    """Checks that index and colour belong together in the same way in all indexed masks whose indices are taken for ids.

    A colour that several indices of one mask have is no sign of an order, and is passed over.

    Args:
      colours: RGB by index of each mask, by its path, for the indices that occur.
      on_error: gets an error for the first two masks that differ.
    """
    repeated = {
        colour for by_index in colours.values() for colour, count in Counter(by_index.values()).items() if count > 1
    }
    first_with_index: dict[int, str] = {}
    first_with_colour: dict[tuple[int, ...], tuple[int, str]] = {}
    for path, by_index in colours.items():
        for index, colour in by_index.items():
            other = first_with_index.setdefault(index, path)
            if colours[other][index] != colour:
                on_error(
                    _differ(path, f"index {index} is the colour {colour}", other, f"the colour {colours[other][index]}")
                )
                return
            other_index, other = first_with_colour.setdefault(colour, (index, path))
            if other_index != index and colour not in repeated:
                on_error(_differ(path, f"the colour {colour} is index {index}", other, f"index {other_index}"))
                return


def _differ(path: str, here: str, other: str, there: str) -> UserError:
    return UserError(
        f"{path}: is an indexed mask in which {here}; in {other} it is {there}. If the colours are the classes, set palette to "
        "the RGB triple of each class; if the indices are, save the masks as 8-bit grey without a palette"
    )


def _pack(rgb):
    r, g, b = np.moveaxis(rgb.astype(np.uint32), -1, 0)
    return r << 16 | g << 8 | b
