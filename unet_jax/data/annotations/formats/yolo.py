"""Reads YOLO segmentation text: a text file an image, a line an object.

A line is the number of the class, from 0, and x, y, x, y, ... in fractions of the image's width and height. Five numbers are a box:
class, centre x, centre y, width, height. The format has no holes, and parts of an object are objects each. data.yaml, or
classes.txt, names the classes.

Text files and images have the same names: beside each other, or in the folders labels/ and images/. A folder train, val or test on
the way gives the split. An empty text file says that its image holds no object.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unet_jax.data.annotations import polygons
from unet_jax.data.annotations.objects import Annotated, Annotations, Object
from unet_jax.data.annotations.options import Options
from unet_jax.data.annotations.pairing import by_key
from unet_jax.data.annotations.source import Source, read_text, size_of
from unet_jax.data.annotations.splits import split_of
from unet_jax.data.datasets import listing
from unet_jax.errors import UserError

NAME_FILES = ("classes.txt", "obj.names", "labels.txt")
# Text files that describe a data set.
NO_LABELS = re.compile(
    r"(classes|labels|train|val|valid|test|readme.*|notes.*|license.*|requirements)\.txt", re.IGNORECASE
)
LINE = re.compile(r"\d+(\s+[-+.\deE]+){4,}\s*")


def recognise(source: Source) -> bool:
    """Returns True if a text file begins with a line of YOLO."""
    return any(LINE.fullmatch(read_text(path).partition("\n")[0].strip()) for path in _label_files(source))


def read(source: Source, options: Options) -> Annotations:
    """Returns the annotations of a folder of YOLO files.

    An image without a text file is one of which the source says nothing.

    Raises:
      UserError: something is wrong; the line names file and line.
    """
    labels = _labels(source)
    texts = by_key(_label_files(source), lambda path: _key(source.path, path))
    folder = Path(options.images) if options.images else source.path
    found = sorted(folder.rglob("*")) if options.images else source.files
    images = by_key(
        (path for path in found if path.suffix.lower() in listing.SUFFIXES), lambda path: _key(folder, path)
    )
    if lost := [path for key, path in texts.items() if key not in images]:
        raise UserError(
            f"{lost[0]}: there is no image of this name in {folder} ({len(lost)} such files); add it, or give its folder with --images"
        )
    return Annotations(labels, _read_files(texts, images, labels, options))


def _label_files(source: Source) -> list[Path]:
    return [path for path in source.ending(".txt") if not NO_LABELS.fullmatch(path.name)]


def _key(folder: Path, path: Path) -> str:
    """Returns what the text file and the image of one name have in common: the path without suffix, `images` and `labels`."""
    relative = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    parts = [part for part in relative.parent.parts if part not in ("images", "labels")]
    return "/".join([*parts, listing.id_of(path.name)])


def _labels(source: Source) -> tuple[str, ...]:
    """Returns the names of the classes, from 0."""
    found = {path: names for path in source.ending(".yaml", ".yml") if (names := _yaml_names(path))}
    found |= {path: _lines(path) for path in source.files if path.name.lower() in NAME_FILES}
    first, expected = next(iter(found.items()), (None, ()))
    for path, names in found.items():
        if names != expected:
            raise UserError(
                f"{path}: names the classes {', '.join(names)}, but {first} {', '.join(expected)}; remove one of the files"
            )
    if expected:
        return expected
    raise UserError(
        f"{source.path}: has no file that names the classes; add data.yaml with names, or classes.txt with a name a line"
    )


def _lines(path: Path) -> tuple[str, ...]:
    return _checked(tuple(line.strip() for line in read_text(path).rstrip().splitlines()), path)


def _yaml_names(path: Path) -> tuple[str, ...]:
    import yaml

    try:
        value = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not YAML ({' '.join(str(error).split())}); correct it") from error
    names: Any = value.get("names") if isinstance(value, dict) else None
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise UserError(f"{path}: names has the numbers {', '.join(map(str, names))}; number the classes 0, 1, ...")
        names = [names[number] for number in range(len(names))]
    if names and not isinstance(names, list):
        raise UserError(f"{path}: names is {str(names)[:50]!r}, which is no list; write names: [first, second]")
    return _checked(tuple(map(str, names)), path) if names else ()


def _checked(names: tuple[str, ...], path: Path) -> tuple[str, ...]:
    if not all(names) or len(set(names)) < len(names):
        raise UserError(f"{path}: a class has no name, or the name of another one ({', '.join(names)}); name each")
    return names


def _read_files(
    texts: dict[str, Path], images: dict[str, Path], labels: tuple[str, ...], options: Options
) -> Iterator[Annotated]:
    for key, image in images.items():
        size = size_of(image)
        objects = None
        if key in texts:
            lines = enumerate(read_text(texts[key]).splitlines(), 1)
            objects = tuple(
                _object(line, f"{texts[key]}: line {number}", labels, size, options)
                for number, line in lines
                if line.strip()
            )
        yield Annotated(image, 0, size, objects, split_of(key.split("/")[:-1]))


def _object(line: str, name: str, labels: tuple[str, ...], size: tuple[int, int], options: Options) -> Object:
    first, *rest = line.split()
    try:
        number, values = int(first), np.array(rest, np.float64)
    except ValueError as error:
        raise UserError(f"{name}: holds something else than numbers ({line[:40]!r}); correct it") from error
    if not 0 <= number < len(labels):
        raise UserError(
            f"{name}: has class {number}, but there are {len(labels)} names (0..{len(labels) - 1}); name it"
        )
    if len(values) == 4:
        x, y, width, height = values
        values = (
            np.array([x, y, x, y, x, y, x, y])
            + np.array([-1, -1, 1, -1, 1, 1, -1, 1]) * np.tile([width, height], 4) / 2
        )
    if len(values) < 6 or len(values) % 2:
        raise UserError(
            f"{name}: has {len(values)} numbers after the class; a box has 4, a polygon pairs of at least 3 points"
        )
    # Written with few decimals, a corner on the rim may lie a little outside.
    if not ((values > -0.01) & (values < 1.01)).all():
        wrong = values[~((values > -0.01) & (values < 1.01))][0]
        raise UserError(f"{name}: holds {wrong:g}; coordinates are fractions of the image, from 0 to 1")
    ring = polygons.to_ring(values, name) * size[::-1]
    return Object(labels[number], polygons.fill([ring], size, options.polygon_points))
