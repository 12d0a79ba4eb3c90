"""The files of `image_folder`, paired by name and checked.

`find` and `check_files` raise the first problem. With another `refuse`, which returns, they go on and tell every one: so
`python -m unet_jax.data.check` finds with this very code what `image_folder.create` refuses.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unet_jax.data import files, splits
from unet_jax.data.prepare import SPLITS, VOID
from unet_jax.errors import UserError, fail

MOST_DERIVED_CLASSES = 32  # more than this found in masks of unknown K are grey values, not ids


class Row(NamedTuple):
    """One example: its id and group, and the paths of its files."""

    id: str
    group: str
    image: str
    mask: str | None  # None where it is missing and `refuse` went on
    instances: str | None


def find(
    root: str,
    masks_dir: str = "masks",
    split_fractions: Sequence[float] = (0.7, 0.15, 0.15),
    refuse: Callable[[UserError], None] = fail,
) -> dict[str, list[Row]]:
    """The rows of each split, paired by file name; no file but the index is opened.

    Where `refuse` returns: a file without a partner, a twin and an image without a place in the index are told and
    passed over; images of an unreadable index or a wrong split lie in the split "".
    """
    if not root:
        raise UserError("image_folder: root is not set; set it to the folder that holds images/ and masks/")
    base = Path(root).expanduser()
    folders = {"images": base / "images", "masks": base / masks_dir}
    if (base / "instances").is_dir():
        folders["instances"] = base / "instances"
    listed = {}
    for name, folder in folders.items():
        try:
            listed[name] = {id_: str(path) for id_, path in files.list_images(folder, refuse).items()}
        except UserError as error:
            refuse(error)
    _check_pairs(folders, listed, refuse)
    ids = listed.get("images", {})
    try:
        assigned = splits.assign(ids, base / "index.csv", split_fractions, refuse)
    except UserError as error:
        refuse(error)
        assigned = {}
    rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for id_ in ids:
        split, group = assigned.get(id_, ("", id_))
        paths = [listed.get(name, {}).get(id_) for name in ("images", "masks", "instances")]
        rows.setdefault(split, []).append(Row(id_, group, *paths))
    return rows


def _check_pairs(folders, listed, refuse) -> None:
    images = listed.get("images")
    if images is None:
        return
    if not images:
        refuse(UserError(f"{folders['images']}: holds no images; put {', '.join(files.SUFFIXES)} files there"))
    for name, paths in listed.items():
        lonely = [id_ for id_ in images if id_ not in paths]
        for id_ in lonely:
            where = f"{id_}.* in {folders[name]} ({len(lonely)} such)"
            refuse(UserError(f"{images[id_]}: has no file {where}; add it or move the image away"))
        lonely = [id_ for id_ in paths if id_ not in images]
        for id_ in lonely:
            where = f"{id_}.* in {folders['images']} ({len(lonely)} such)"
            refuse(UserError(f"{paths[id_]}: has no file {where}; add the image or move the file away"))


def check_files(
    rows: Sequence[Row],
    known_classes: int,
    mask_values: Sequence[int],
    palette: files.Palette,
    refuse: Callable[[UserError], None] = fail,
    look: Callable[[Row, np.ndarray, np.ndarray], None] = lambda row, pixels, ids: None,
) -> dict:
    """Reads every file and returns what they have in common: channels, dtype and num_classes.

    `look` is given the pixels and class ids of each row that has no problem, from two threads. Where `refuse` returns and
    no row is left, channels is 0.
    """

    def facts(row):
        problems = []

        def attempt(read, path):
            try:
                return read(path) if path else None
            except UserError as error:
                problems.append(error)

        pixels = attempt(files.read_image, row.image)
        ids = attempt(lambda path: files.to_ids(files.read_labels(path), path, mask_values, palette), row.mask)
        for path, array in ((row.mask, ids), (row.instances, attempt(files.read_instances, row.instances))):
            if pixels is not None and array is not None and array.shape != pixels.shape[:2]:
                sizes = [f"{width} x {height}" for height, width in (array.shape, pixels.shape[:2])]
                problems.append(
                    UserError(f"{path}: is {sizes[0]} pixels, its image {sizes[1]}; make them the same size")
                )
        if ids is None:
            return problems, None
        found = files.values_in(ids)
        holds_void = VOID in found
        found = found[found != VOID]
        if known_classes and (found >= known_classes).any():
            problems.append(
                UserError(
                    f"{row.mask}: holds the ids {', '.join(map(str, found))}, but there are {known_classes} classes "
                    f"(ids 0..{known_classes - 1}, 255 void); correct the mask, the number of classes, or set mask_values"
                )
            )
        if problems or pixels is None:
            return problems, None
        look(row, pixels, ids)
        return (), (row, pixels.shape[-1], str(pixels.dtype), int(found.max(initial=0)), holds_void)

    sound = []
    with ThreadPoolExecutor(2) as pool:
        for problems, fact in pool.map(facts, rows):
            for problem in problems:
                refuse(problem)
            sound += [fact] if fact else []
    if not sound:
        return {"channels": 0, "dtype": "", "num_classes": known_classes}
    return _common(*zip(*sound, strict=True), known_classes, mask_values, refuse)


def _common(rows, channels, dtypes, largest, void, known_classes, mask_values, refuse) -> dict:
    if len(set(dtypes)) > 1:
        eight, sixteen = (rows[dtypes.index(dtype)].image for dtype in ("uint8", "uint16"))
        refuse(UserError(f"{sixteen}: is 16-bit and {eight} is 8-bit; convert the images to one depth"))
    if any(void) and not any(largest) and not mask_values:
        num = known_classes or 2
        ids = tuple(range(num)) if num < 5 else f"(0, 1, ..., {num - 1})"
        refuse(
            UserError(
                f"{rows[void.index(True)].mask}: no mask holds another value than 0 and 255; set mask_values=(0, 255) if "
                f"255 is class 1 of two classes, or mask_values={ids} if it is void"
            )
        )
    derived = max(largest) + 1
    if not known_classes and derived > MOST_DERIVED_CLASSES:
        refuse(
            UserError(
                f"{rows[largest.index(derived - 1)].mask}: holds the value {derived - 1}; if the masks hold grey values set "
                f"mask_values, if there are {derived} classes set num_classes={derived}"
            )
        )
    return {"channels": max(channels), "dtype": dtypes[0], "num_classes": known_classes or max(derived, 2)}
