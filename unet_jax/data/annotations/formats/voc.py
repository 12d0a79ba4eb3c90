"""Reads masks in the folders of PASCAL VOC, and the mask export of CVAT ("Segmentation mask 1.1"), which has the same folders.

    JPEGImages/ID.jpg           images, of any format that is read; CVAT may leave them out
    SegmentationClass/ID.png    a colour or an index for each class
    SegmentationObject/ID.png   a colour or an index for each object; without this folder there are no instances
    ImageSets/Segmentation/     train.txt, val.txt and test.txt, an ID a line; with this folder, only those images are taken
    labelmap.txt                NAME:R,G,B:: a class a line, written by CVAT

With labelmap.txt, a mask is read by the colours in that file. Without it, an index is a class, and classes.txt may name them, a
name a line, that of 0 first. Index 255, and without a class of that colour VOC's colour 224, 224, 192, are void.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from unet_jax.data.annotations import crops
from unet_jax.data.annotations.objects import VOID, Annotated, Annotations, Object
from unet_jax.data.annotations.options import Options
from unet_jax.data.annotations.pairing import by_key
from unet_jax.data.annotations.source import Source, read_text, size_of
from unet_jax.data.annotations.splits import split_of
from unet_jax.data.datasets import image_files, listing
from unet_jax.errors import UserError
from unet_jax.segmentation import VOID_ID

CLASSES, OBJECTS, SETS = "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"
IMAGES = "JPEGImages"
VOID_COLOUR = (224, 224, 192)
# The number that stands for void in a map of classes or objects.
IS_VOID = -1


class Classes(NamedTuple):
    """Holds the classes of a folder.

    Attributes:
      names: of the classes, by their numbers.
      colours: number of the class by its RGB as one number; {} where masks hold indices.
    """

    names: tuple[str, ...]
    colours: dict[int, int]


def recognise(source: Source) -> bool:
    """Returns True if the source has a folder SegmentationClass."""
    return bool(_roots(source))


def read(source: Source, options: Options) -> Annotations:
    """Returns the images with their masks, in the order of the classes.

    Raises:
      UserError: something is wrong with the folders or the classes. Reading the images raises it for a mask.
    """
    roots = _roots(source)
    if len(roots) != 1:
        listed = ", ".join(map(str, roots))
        raise UserError(
            f"{source.path}: holds {len(roots)} folders {CLASSES} ({listed}), not 1; give the folder that holds one"
        )
    root = roots[0]
    masks = _files(root / CLASSES)
    classes = _classes(root, list(masks.values()))
    splits = _splits(root)
    folder = Path(options.images) if options.images else root / IMAGES
    images = _files(folder)
    ids = splits or dict.fromkeys(sorted({*images, *masks}), "")
    for id_ in ids:
        if id_ not in images:
            where = f"{root / SETS} names {id_!r}" if splits else f"{masks[id_]} is its mask"
            raise UserError(
                f"{folder}: has no image {id_!r}, but {where}; add it, or give the folder of the images with --images"
            )
    return Annotations(
        classes.names,
        (_annotated(images[id_], id_, masks.get(id_), root, classes, split) for id_, split in ids.items()),
        instances=(root / OBJECTS).is_dir(),
    )


def _roots(source: Source) -> list[Path]:
    """Returns the folders that hold a folder SegmentationClass."""
    parents = {parent for path in source.files for parent in path.parents if parent.name == CLASSES}
    return sorted(parent.parent for parent in parents if parent.is_relative_to(source.path))


def _files(folder: Path) -> dict[str, Path]:
    """Returns the image files in a folder and below, by ID."""
    files = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in listing.SUFFIXES)
    return by_key(files, lambda path: _key(folder, path))


def _key(folder: Path, path: Path) -> str:
    """Returns the ID of a file, which holds the folders below that of its kind."""
    return "/".join([*path.relative_to(folder).parent.parts, listing.id_of(path.name)])


def _splits(root: Path) -> dict[str, str]:
    """Returns the split of each ID that a list names, "" if that list is of no split."""
    splits: dict[str, str] = {}
    for path in sorted((root / SETS).glob("*.txt")):
        split = split_of([path.stem])
        for line in read_text(path).splitlines():
            if not (id_ := listing.normal_form(line.strip())):
                continue
            if split and splits.get(id_, split) not in ("", split):
                raise UserError(
                    f"{path}: names {id_!r}, which is in the split {splits[id_]}, too; remove it from one of them"
                )
            splits[id_] = split or splits.get(id_, "")
    return splits


def _classes(root: Path, masks: list[Path]) -> Classes:
    if (path := root / "labelmap.txt").is_file():
        return _label_map(path)
    if (path := root / "classes.txt").is_file():
        names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
        if len(set(names)) < len(names):
            raise UserError(f"{path}: two classes have the same name ({', '.join(names)}); name each")
        return Classes(names, {})
    largest = max((int(_indices(path, Classes((), {})).max()) for path in masks), default=0)
    return Classes(("background", *(f"class {number}" for number in range(1, largest + 1))), {})


def _label_map(path: Path) -> Classes:
    """Returns the classes of labelmap.txt: NAME:R,G,B:PARTS:ACTIONS; the background may stand in any line."""
    names: list[str] = []
    colours: dict[int, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        # A name may hold a colon.
        parts = line.strip().rsplit(":", 3)
        rgb = parts[1].split(",") if len(parts) == 4 else []
        if len(rgb) != 3 or not parts[0] or not all(value.strip().isdecimal() and int(value) < 256 for value in rgb):
            raise UserError(f"{path}: line {number} {line[:60]!r} is not NAME:R,G,B:: with 0..255; correct it")
        colour = _packed(np.array(rgb, int))
        if int(colour) in colours or parts[0] in names:
            raise UserError(f"{path}: line {number} repeats a name or a colour ({line[:60]}); give each class its own")
        colours[int(colour)] = len(names)
        names.append(parts[0])
    if not names:
        raise UserError(f"{path}: names no class; export it again")
    return Classes(tuple(names), colours)


def _annotated(image: Path, id_: str, mask: Path | None, root: Path, classes: Classes, split: str) -> Annotated:
    size = size_of(image)
    if mask is None:
        return Annotated(image, 0, size, None, split)
    numbers = _checked(_indices(mask, classes), mask, size, image)
    if numbers.max() >= len(classes.names):
        raise UserError(
            f"{mask}: holds index {numbers.max()}, but there are {len(classes.names)} classes; name it in classes.txt"
        )
    objects = []
    if (root / OBJECTS).is_dir():
        objects = _objects(numbers, classes, root / OBJECTS / mask.relative_to(root / CLASSES), size, image)
    else:
        for number in np.unique(numbers[numbers >= 0]).tolist():
            if classes.names[number].lower() != "background":
                objects.append(Object(classes.names[number], crops.from_mask(numbers == number, size)))
    if (numbers == IS_VOID).any():
        objects.append(Object(VOID, crops.from_mask(numbers == IS_VOID, size)))
    return Annotated(image, 0, size, tuple(objects), split)


def _objects(numbers: np.ndarray, classes: Classes, path: Path, size: tuple[int, int], image: Path) -> list[Object]:
    """Returns the objects of a file of SegmentationObject, each of the one class that its pixels have."""
    if not path.is_file():
        raise UserError(f"{path}: is missing; add it, or move the folder {OBJECTS} away to read classes only")
    values = _checked(_object_numbers(path), path, size, image)
    # Void counts in either file.
    values = np.where(numbers == IS_VOID, IS_VOID, values)
    is_background = np.array([name.lower() == "background" for name in classes.names])
    background = (numbers >= 0) & is_background[numbers]
    objects = []
    for value in np.unique(values[values > 0]).tolist():
        inside = values == value
        present = np.unique(numbers[inside]).tolist()
        if len(present) > 1 or is_background[present[0]]:
            names = ", ".join(classes.names[number] for number in present)
            raise UserError(
                f"{path}: an object has pixels of {names} in {CLASSES}, not of one class; correct one of the masks"
            )
        objects.append(Object(classes.names[present[0]], crops.from_mask(inside, size)))
    lost = (values == 0) & ~background
    if lost.any():
        row, column = np.argwhere(lost)[0].tolist()
        raise UserError(
            f"{path}: {lost.sum()} pixels of a class belong to no object, first in column {column}, row {row}; correct it, or move "
            f"the folder {OBJECTS} away to read classes only"
        )
    return objects


def _indices(path: Path, classes: Classes) -> np.ndarray:
    """Returns the number of the class of each pixel, int `[H, W]`; `IS_VOID` for void."""
    values, colours = _values(path)
    if not classes.colours:
        if values.ndim == 3:
            raise UserError(
                f"{path}: is RGB, and no labelmap.txt tells its colours; add it beside {CLASSES} (NAME:R,G,B:: a line)"
            )
        return _marked(values)
    if values.ndim == 2:
        if colours is None:
            return _marked(values)
        values = colours[values]
    packed = _packed(values)
    present, places = np.unique(packed, return_inverse=True)
    table = {int(_packed(np.array(VOID_COLOUR))): IS_VOID} | classes.colours
    unknown = [colour for colour in present.tolist() if colour not in table]
    if unknown:
        rgb = tuple(unknown[0] >> shift & 255 for shift in (16, 8, 0))
        raise UserError(
            f"{path}: holds {len(unknown)} colours that labelmap.txt lacks, such as {rgb}; add a line for each"
        )
    return np.array([table[colour] for colour in present.tolist()])[places].reshape(packed.shape)


def _object_numbers(path: Path) -> np.ndarray:
    """Returns a number above 0 for each object, int `[H, W]`; 0 is background, `IS_VOID` void."""
    values, _ = _values(path)
    if values.ndim == 2:
        # 16 bits have room for 255 objects and more.
        return _marked(values) if values.dtype == np.uint8 else values.astype(np.int64)
    packed = _packed(values)
    return np.where(packed == _packed(np.array(VOID_COLOUR)), IS_VOID, packed)


def _marked(values: np.ndarray) -> np.ndarray:
    return np.where(values == VOID_ID, IS_VOID, values.astype(np.int64))


def _values(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    opened = image_files.open_labels(str(path))
    return opened.only(str(path)), opened.colours


def _packed(colours: np.ndarray) -> np.ndarray:
    """Returns RGB `[..., 3]` as one number each."""
    red, green, blue = np.moveaxis(colours.astype(np.int64), -1, 0)
    return (red << 16) + (green << 8) + blue


def _checked(values: np.ndarray, path: Path, size: tuple[int, int], image: Path) -> np.ndarray:
    if values.shape != size:
        raise UserError(
            f"{path}: has {values.shape[1]} x {values.shape[0]} pixels, {image} has {size[1]} x {size[0]}; make them the same size"
        )
    return values
