"""The record of a prediction in its folder: by it an interrupted prediction goes on, and results of two networks never mix.

`OUT/prediction.json` is written before the first result. It holds the settings (network, weights, mode, memory, what is saved,
...) and, for each image, its file with size and time of the last change. A result that lies in the folder is kept only if it was
made by the same settings from the same file. For each image that was predicted in parts, the record also says in which.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from etils.epath import Path

from unet_jax.checkpoints.tree import leaf_digests
from unet_jax.errors import UserError
from unet_jax.inference.ensemble import Ensemble
from unet_jax.inference.predictor import Predictor
from unet_jax.inference.segmenter import Segmenter
from unet_jax.inference.temperature import Calibrated
from unet_jax.storage import json_file, paths
from unet_jax.storage.digests import json_sha256
from unet_jax.version import __version__

NAME = "prediction.json"
REMEDY = "write to another folder, or pass --overwrite to replace what is there"
# The key of the settings that says what the results are, and its value where it is not there.
RESULTS, PREDICTED = "results", "masks"
# Keys of the settings that a message names in words.
WORDS = {"weights_sha256": "weights", "version": "unet_jax"}


@dataclasses.dataclass(frozen=True)
class Record:
    """What a prediction is made of.

    Attributes:
      settings: JSON-able values that decide the results.
      images: the `stamp` of each image's file, by the name of its results.
      parts: how images that did not fit into the memory were predicted, by the name of their results; see `Segmenter.parts`.
    """

    settings: Mapping[str, Any]
    images: Mapping[str, Mapping[str, Any]]
    parts: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)

    def content(self) -> bytes:
        """Returns the bytes of the file."""
        values = {"settings": self.settings, "images": self.images} | ({"parts": self.parts} if self.parts else {})
        return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()


def settings_of(segmenter: Segmenter, **options: Any) -> dict[str, Any]:
    """Returns what decides the results of a prediction.

    Args:
      segmenter: the network, or an ensemble.
      **options: what else decides them, JSON-able.
    """
    if isinstance(segmenter, Calibrated):
        return settings_of(segmenter.segmenter, temperature=segmenter.temperature, **options)
    if isinstance(segmenter, Ensemble):
        networks = [_network(predictor) for predictor in segmenter.predictors]
        memory = [predictor.budget for predictor in segmenter.predictors]
        return {"version": __version__, "networks": networks, "views": segmenter.view_set, "memory": memory, **options}
    if isinstance(segmenter, Predictor):
        return {"version": __version__, **_network(segmenter), "memory": segmenter.budget, **options}
    raise TypeError(f"{type(segmenter).__name__} has no settings")


def memory_of(out: Path) -> int | str:
    """Returns the bytes that the prediction in a folder may take; "" if there is none, or if they differ between networks.

    Raises:
      UserError: as `read`.
    """
    there = read(out)
    memory = there.settings.get("memory") if there else None
    each = memory if isinstance(memory, list) and memory else [memory]
    return each[0] if type(each[0]) is int and each[0] > 0 and each.count(each[0]) == len(each) else ""


def _network(predictor: Predictor) -> dict[str, Any]:
    # Of the later ones only those that are set: a prediction of an earlier version goes on.
    later: dict[str, Any] = {"range": list(predictor.value_range)} if predictor.value_range else {}
    later |= {"nan": predictor.nan} if predictor.nan != "error" else {}
    return later | {
        "network": " ".join(repr(predictor.module).split()),
        "weights_sha256": json_sha256(leaf_digests(predictor.variables)),
        "mode": predictor.mode,
        "level": predictor.level,
        "class_names": list(predictor.class_names),
        "report_classes": list(predictor.report_classes),
        "normalize": predictor.normalize,
        "pad_multiple": predictor.pad_multiple,
    }


def stamp(path: Path) -> dict[str, Any]:
    """Returns the path of a file or a Zarr array, its size in bytes and the time of its last change.

    Raises:
      OSError: the file is gone.
    """
    if paths.in_bucket(path):
        found = path.stat()
        return {"file": os.fspath(path), "bytes": found.length, "changed": str(found.mtime)}
    # A Zarr array is a folder of files.
    files = [os.path.join(place, name) for place, _, names in os.walk(path) for name in names] or [os.fspath(path)]
    statuses = list(map(os.stat, files))
    size, changed = sum(status.st_size for status in statuses), max(status.st_mtime_ns for status in statuses)
    return {"file": os.path.abspath(path), "bytes": size, "changed": str(changed)}


def compare(
    out: Path, record: Record, results_of: Callable[[str], Collection[Path]], *, overwrite: bool, exact: bool
) -> bool:
    """Compares a record with the one in the folder. Changes nothing.

    Args:
      out: the folder of the results.
      record: of the prediction that is asked for.
      results_of: gives the results of an image that exist, by its name.
      overwrite: True if results that exist are to be replaced.
      exact: True if the images must be exactly those of the record that is there, False if there may be others.

    Returns:
      True if results that exist are those of this record, so that the prediction goes on.

    Raises:
      UserError: the record is of other things, such as masks and objects; or results exist that are not those of this record, and `overwrite` is False; or results of images that are
        not asked for are from other settings; or the images are not `exact`.
    """
    there = read(out)
    if there is None:
        existing = [] if overwrite else next(filter(None, map(results_of, record.images)), [])
        # Another process may have written the record, and then a result, since it was read.
        there = read(out) if existing else None
        if there is None:
            if existing:
                raise UserError(f"{min(existing)} exists, and no {NAME} says how it was made; {REMEDY}")
            return False
    old, new = (each.settings.get(RESULTS, PREDICTED) for each in (there, record))
    if old != new:
        raise UserError(f"--out={out} holds {old}, and {NAME} says how they were made; write {new} to another folder")
    kept = [
        name
        for name in {**there.images, **record.images}
        if results_of(name) and not (overwrite and name in record.images)
    ]
    differing = [key for key in (*record.settings, *there.settings) if _value(record, key) != _value(there, key)]
    if differing:
        if kept:
            raise UserError(
                f"--out={out} holds results that were made {_differences(there, record, differing)}; {_remedy(overwrite)}"
            )
        return False
    if exact and there.images != record.images:
        raise UserError(
            f"--shard: the images are not those that {out / NAME} lists, so the parts would not fit together: "
            f"{_first_difference(there, record)}; give every part the same images, or write to another folder"
        )
    for name in kept:
        if name in record.images and there.images.get(name) != record.images[name]:
            raise UserError(
                f"{min(results_of(name))} was not made from {record.images[name]['file']} as it is now: {NAME} has another "
                f"file, size or time; {REMEDY}"
            )
    return not overwrite


def write(out: Path, record: Record) -> None:
    """Writes the record that `compare` has accepted; where the settings are the same, earlier images stay in it.

    Several processes may do this at once.

    Args:
      out: the folder of the results, which exists.
      record: of the prediction that begins.

    Raises:
      UserError: another prediction, with other settings, has begun to write there meanwhile.
      OSError: the file cannot be written.
    """
    path, there = out / NAME, read(out)
    if there is None:
        if paths.create_whole(path, record.content()):
            return
        there = read(out)
        if there is None or there.settings != record.settings:
            raise UserError(
                f"--out={out}: another prediction has begun to write there"
                + (
                    ", with other memory; start this one again, or give all of them the same --memory"
                    if there and {**there.settings, "memory": 0} == {**record.settings, "memory": 0}
                    else "; write to another folder"
                )
            )
    elif there.settings != record.settings:
        paths.write_whole(path, record.content())
        return
    _add(out, record.images, {})


def add_parts(out: Path, parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Adds to the record in a folder how images are predicted.

    Args:
      out: the folder of the results.
      parts: see `Record`.

    Raises:
      OSError: the file cannot be written.
    """
    _add(out, {}, parts)


def _add(out: Path, images: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    path = out / NAME
    with _alone(path):
        there = read(out)
        # Without a lock another process may write at the same time, so it is read again until these are in it.
        while there and not (there.images.items() >= images.items() and there.parts.items() >= parts.items()):
            added = Record(there.settings, {**there.images, **images}, {**there.parts, **parts})
            paths.write_whole(path, added.content())
            there = read(out)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Lets one process at a time change a file, if its disk has locks; a bucket and some network disks have none."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            locked = paths.in_bucket(path)
            while not locked:
                file = stack.enter_context(open(path, "r+b"))
                fcntl.flock(file, fcntl.LOCK_EX)
                # A process that had the lock before has replaced the file.
                locked = os.path.samestat(os.fstat(file.fileno()), os.stat(path))
        yield


def read(out: Path) -> Record | None:
    """Returns the record in a folder, or None if there is none.

    Raises:
      UserError: the file cannot be read, or is no record.
    """
    remedy = "remove it and the results beside it, or write to another folder"
    try:
        value = json_file.read_object(out / NAME, remedy)
    except (FileNotFoundError, NotADirectoryError):
        return None
    settings, images, parts = value.get("settings"), value.get("images"), value.get("parts", {})
    if not isinstance(settings, dict) or not isinstance(images, dict) or not isinstance(parts, dict):
        raise UserError(f"{out / NAME} is no record of a prediction; {remedy}")
    return Record(settings, images, parts)


def _remedy(overwrite: bool) -> str:
    return REMEDY if not overwrite else "--overwrite replaces only those of the images given; write to another folder"


def _value(record: Record, key: str) -> Any:
    return record.settings.get(key)


def _differences(there: Record, here: Record, keys: Collection[str]) -> str:
    """Returns what differs in words, the first three of it."""
    parts = []
    for key in list(dict.fromkeys(keys))[:3]:
        old, new = _value(there, key), _value(here, key)
        long = key.endswith("sha256") or max(len(str(old)), len(str(new))) > 60
        parts.append(
            f"with other {WORDS.get(key, key)}" if long else f"with {WORDS.get(key, key)} {old!r}, not {new!r}"
        )
    return " and ".join(parts)


def _first_difference(there: Record, here: Record) -> str:
    """Returns an image that one of two records lacks, or whose file has changed, in words."""
    for name in sorted({*there.images, *here.images}):
        if there.images.get(name) != here.images.get(name):
            kind = "is new" if name not in there.images else "is missing" if name not in here.images else "has changed"
            return f"{name} {kind}"
    return ""
