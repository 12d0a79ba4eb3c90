"""Writes annotations as a folder that the data set `image_folder` reads.

    OUT/images/ID.*       copies of the image files, byte by byte
    OUT/masks/ID.png      class ids, 255 for void; ID.tif for an image file of several pages
    OUT/instances/ID.png  numbers of objects, 16 bits, where the source has objects
    OUT/index.csv         id,split, where the source gives splits
    OUT/classes.txt       a class name a line, that of id 0 first
    OUT/import.json       what was imported; `data` holds the keys of `config.data` with which the folder is read, `files` the
                          original of each copy

ID is the name of the image file without suffix; of the second file with a name, that of its folder, `_`, and its name.
"""

import csv
import dataclasses
import io
import itertools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from unet_jax.checks import choice
from unet_jax.data.annotations import paint, registry
from unet_jax.data.annotations.objects import VOID, Annotated, Annotations
from unet_jax.data.annotations.options import Options
from unet_jax.data.annotations.source import open_source, sizes_of
from unet_jax.data.datasets import listing
from unet_jax.errors import UserError
from unet_jax.storage import json_file
from unet_jax.storage.write_errors import report_write_errors

TWICE = "is annotated twice; remove one of the annotations, or import them apart"
UNANNOTATED = ("error", "background", "skip")
DOMAINS = {
    "overlaps": choice(paint.OVERLAPS),
    "crowds": choice(paint.CROWDS),
    "unannotated": choice(UNANNOTATED),
}


@dataclasses.dataclass(frozen=True)
class Choice:
    """Says what becomes of annotations.

    Attributes:
      labels: the classes in the order of their ids; () for those of the source, in its order or else sorted by name.
      overlaps: as in `paint`.
      crowds: as in `paint`.
      unannotated: what an image is of which the source says nothing: an error, background, or left out ("skip").
    """

    labels: Sequence[str] = ()
    overlaps: str = "later"
    crowds: str = "keep"
    unannotated: str = "error"

    def __post_init__(self):
        for name, domain in DOMAINS.items():
            domain.check(f"--{name}", getattr(self, name))


def convert(
    path: Path, out: Path, *, format_: str = "auto", options: Options | None = None, choice: Choice | None = None
) -> dict[str, Any]:
    """Writes the folder `out` and returns what is in it, as in import.json.

    The folder is complete as soon as it exists.

    Args:
      path: file or folder of annotations.
      out: a folder that does not exist yet, or is empty.
      format_: a row of `registry.FORMATS`, or "auto".
      options: how the annotations are read.
      choice: what becomes of them.

    Raises:
      UserError: `out` holds something, or something is wrong with the annotations or the images.
    """
    options, choice = options or Options(), choice or Choice()
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out}: is there already; give a folder that does not exist, or remove it")
    with report_write_errors(), tempfile.TemporaryDirectory() as scratch:
        options = dataclasses.replace(options, scratch=scratch)
        annotations = registry.read(open_source(path), format_, options)
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            facts = _write(annotations, part, options, choice)
            facts = {"source": str(path), **facts}
            json_file.write(part / "import.json", facts, indent=1)
            part.chmod(0o755)
            part.replace(out)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return facts


def _write(annotations: Annotations, out: Path, options: Options, choice: Choice) -> dict[str, Any]:
    """Writes all but import.json, and returns what that holds."""
    labels, images = list(choice.labels or annotations.labels), annotations.images
    if not labels:
        # Only now are all objects held in memory.
        images = iter(every := [*images])
        labels = sorted({item.label for annotated in every for item in annotated.objects or ()})
    ids = paint.class_ids(labels)
    for name in ("images", "masks", *(["instances"] if annotations.instances else [])):
        (out / name).mkdir()
    names: dict[Path, str] = {}
    seen: set[Path] = set()
    splits: dict[str, str] = {}
    counts: Counter[str] = Counter()
    hidden = empty = 0
    for file, by_page in _by_image(images, choice.unannotated, counts):
        # Two ways to write the path of one file are one image.
        if (place := file.resolve()) in seen:
            raise UserError(f"{file}: {TWICE}")
        seen.add(place)
        id_ = _name(file, names)
        pages = _all_pages(file, by_page, choice)
        painted = [paint.paint(page, ids, choice.overlaps, choice.crowds) for page in pages]
        shutil.copyfile(file, out / "images" / (id_ + file.suffix))
        _save([page.mask for page in painted], out / "masks", id_)
        if annotations.instances:
            _save([page.instances for page in painted], out / "instances", id_)
        splits[id_] = pages[0].split
        hidden += sum(page.hidden for page in painted)
        empty += sum(page.empty for page in painted)
    if not names:
        raise UserError("the source names no image that is taken; give another source, or see --unannotated")
    if hidden:
        options.on_note(f"{hidden} objects have no pixel: later ones cover them")
    if empty:
        options.on_note(
            f"{empty} objects have no pixel: they lie outside their image, or between the centres of pixels"
        )
    _write_splits(splits, out, options)
    class_names = ["background", *(label for label, id_ in ids.items() if id_ and label != VOID)]
    (out / "classes.txt").write_text("".join(f"{name}\n" for name in class_names))
    data: dict[str, list] = {"class_names": class_names} if len(class_names) > 1 else {}
    if VOID in counts:
        # Else 255 might be a class, as far as the masks tell.
        data["mask_values"] = list(range(len(class_names)))
    # An image out of the annotations themselves has no file that stays.
    originals = {
        file: id_ for file, id_ in names.items() if not (options.scratch and file.is_relative_to(options.scratch))
    }
    files = {id_ + file.suffix: str(file.absolute()) for file, id_ in originals.items()}
    return {"images": len(names), "objects": dict(sorted(counts.items())), "data": data, "files": files}


def _by_image(
    images: Iterable[Annotated], unannotated: str, counts: Counter[str]
) -> Iterator[tuple[Path, dict[int, Annotated]]]:
    """Yields each image that is taken, with its annotations by page, and adds the objects to `counts`, by label."""
    for file, group in itertools.groupby(images, lambda annotated: annotated.image):
        pages: dict[int, Annotated] = {}
        for annotated in group:
            if annotated.objects is None and unannotated == "error":
                raise UserError(
                    f"{file}: the source says nothing about this image; set --unannotated=background if it holds no object, or "
                    "--unannotated=skip to leave such images out"
                )
            if annotated.objects is None and unannotated == "skip":
                continue
            if annotated.page in pages:
                raise UserError(f"{file}: {TWICE}")
            pages[annotated.page] = annotated
            counts.update(item.label for item in annotated.objects or ())
        if pages:
            yield file, pages


def _all_pages(file: Path, pages: dict[int, Annotated], choice: Choice) -> list[Annotated]:
    """Returns the pages of a file in their order, with those that the source does not name."""
    count = len(sizes_of(file))
    missing = sorted(set(range(count)) - set(pages))
    if missing and choice.unannotated != "background":
        raise UserError(
            f"{file}: the source says nothing about page {missing[0] + 1} of {count}; set --unannotated=background if it holds "
            "no object, or save the annotated pages apart"
        )
    first = next(iter(pages.values()))
    return [pages.get(page, first._replace(page=page, objects=None)) for page in range(count)]


def _name(file: Path, names: dict[Path, str]) -> str:
    """Returns the id of an image file and adds it to `names`."""
    if file.suffix.lower() not in listing.SUFFIXES:
        raise UserError(f"{file}: its suffix is not one of {', '.join(listing.SUFFIXES)}; rename it")
    taken = {name.casefold() for name in names.values()}
    id_ = listing.id_of(file.name)
    if id_.casefold() in taken:
        id_ = f"{file.parent.name}_{id_}"
    if id_.casefold() in taken:
        raise UserError(f"{file}: another image has the name {id_!r}, too; rename one of them")
    names[file] = id_
    return id_


def _save(pages: list[np.ndarray], folder: Path, id_: str) -> None:
    if len(pages) == 1:
        done, data = cv2.imencode(".png", pages[0])
        assert done, id_
        (folder / f"{id_}.png").write_bytes(data.tobytes())
        return
    import tifffile

    # Without `photometric`, three or four pages would be colours.
    how: dict[str, Any] = {"photometric": "minisblack", "compression": "deflate", "metadata": {"axes": "ZYX"}}
    tifffile.imwrite(folder / f"{id_}.tif", np.stack(pages), **how)


def _write_splits(splits: dict[str, str], out: Path, options: Options) -> None:
    """Writes index.csv if the source gives train and another split."""
    given = set(splits.values()) - {""}
    if not given:
        return
    if "train" not in given or len(given) < 2:
        options.on_note(
            f"all images are in the split {', '.join(sorted(given))}, so the splits are not kept: image_folder divides the images"
        )
        return
    without = [id_ for id_, split in splits.items() if not split]
    if without:
        raise UserError(
            f"the image {without[0]} is in no split, others are in {', '.join(sorted(given))}; put its annotations into one"
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("id", "split"), *splits.items()])
    (out / "index.csv").write_text(text.getvalue())
