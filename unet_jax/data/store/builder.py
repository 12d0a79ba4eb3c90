"""Prepares examples once, without TensorFlow: a TFDS builder writes ArrayRecord files, a source reads them at random.

A prepared data set lies in `CACHE/NAME/KEY/`. KEY is a hash of the builder's version, its config and the fingerprint of its
input. The preparation writes into a temporary folder and renames it at the end. So a killed preparation leaves only a
temporary folder behind, and if two processes prepare at the same time, the slower one takes the other's result.

The folder holds the sha256 of each of its files (`FILES`). A folder whose files are not those is prepared again.
"""

import collections
import contextlib
import dataclasses
import io
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import absl.logging
import numpy as np
import tensorflow_datasets as tfds

from unet_jax.data.dataset import SPLITS
from unet_jax.data.store import encoding
from unet_jax.data.store.cache import cache_folder, cache_write_error, file_digests, read_checked, write_checked
from unet_jax.errors import UserError
from unet_jax.storage.digests import file_sha256, json_sha256
from unet_jax.storage.plain_folder import plain_folder, with_own_names
from unet_jax.storage.write_errors import first_line

# Features with one channel.
GREY = ("mask", "instances", "weight")
# Features of pixels; `encoding` says how they are stored.
PIXELS = ("image", *GREY)
# Examples that are made at the same time.
THREADS = 2
# Version of the stored form of an example. A new number keeps old caches from being read.
FORMAT = 1
# The file that holds the sha256 of each other file of a prepared data set.
FILES = "files.json"


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]  # TFDS has no types
    """Stores the examples of a data set. A subclass defines `counts` and `example`.

    Attributes:
      settings: the config given to `prepare`. This class reads the keys `channels`; `dtype` ("uint8", "uint16" or "float32");
        `overlapping` (masks are `[H, W, K]` 0/1 with K <= 16, stored as bits of one number); `num_classes`; and
        `instances` (True if every example has an instance map; default False).
      inputs: the inputs given to `prepare`, e.g. the paths of the files. They must not change the examples.
    """

    VERSION = tfds.core.Version("1.0.0")
    # With a path, TFDS would look there for checksums of downloads, with a package that it does not install. Nothing is
    # downloaded here.
    code_path = None

    def __init_subclass__(cls, **kwargs):
        # TFDS must not register the class: `DATASETS` is the only table of names.
        super().__init_subclass__(**(kwargs | {"skip_registration": True}))

    def __init__(self, *, settings: dict[str, Any], inputs: dict[str, Any] | None = None, **kwargs: Any):
        self.settings = settings
        self.inputs = inputs or {}
        super().__init__(**kwargs)

    def counts(self) -> dict[str, int]:
        """Returns the number of examples of each split; a split without examples is not stored."""
        raise NotImplementedError

    def example(self, split: str, index: int) -> dict[str, Any]:
        """Returns the Example at `index` of `split`: image, mask, id, group and, if the set has them, instances.

        It is called once for each index; two threads call it.
        """
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        grey16 = tfds.features.Image(shape=(None, None, 1), dtype=np.uint16, encoding_format="png")
        if encoding.is_png(self.settings["channels"], self.settings["dtype"]):
            image = tfds.features.Image(
                shape=(None, None, self.settings["channels"]),
                dtype=np.dtype(self.settings["dtype"]).type,
                encoding_format="png",
            )
        else:
            # Bytes: of an image that is no PNG, TFDS knows no form that it reads without TensorFlow.
            image = tfds.features.Text()
        mask = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
        features = {"image": image, "mask": grey16 if self.settings["overlapping"] else mask}
        features |= {"id": tfds.features.Text(), "group": tfds.features.Text()}
        if self.settings.get("instances"):
            features["instances"] = grey16
        # Without shuffling a split keeps the builder's order, so an index means the same example everywhere.
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        # Nothing is downloaded.
        del dl_manager
        return {split: self._generate_examples(split, count) for split, count in self.counts().items() if count}

    def _generate_examples(self, split, count):
        def encode(index: int) -> dict[str, Any]:
            example = dict(self.example(split, index))
            if self.settings["overlapping"]:
                bits = np.left_shift(np.uint16(1), np.arange(example["mask"].shape[-1], dtype=np.uint16))
                example["mask"] = (example["mask"].astype(np.uint16) * bits).sum(-1, dtype=np.uint16)
            encoders = dict.fromkeys(PIXELS, encoding.to_png)
            if "image" in example and not encoding.is_png(self.settings["channels"], self.settings["dtype"]):
                encoders["image"] = encoding.to_tiff
            return {key: encoders[key](value) if key in encoders else value for key, value in example.items()}

        # Few at a time: all together may not fit into memory.
        waiting: collections.deque[tuple[int, Future]] = collections.deque()
        with ThreadPoolExecutor(THREADS) as pool:
            for index in range(count):
                waiting.append((index, pool.submit(encode, index)))
                if len(waiting) > THREADS:
                    first, encoded = waiting.popleft()
                    yield first, encoded.result()
            for first, encoded in waiting:
                yield first, encoded.result()


class Source:
    """Gives random access to one prepared split: `len(source)` and `source[index]`, which is an Example.

    Args:
      records: the split, as TFDS gives it.
      num_classes: number of classes.
      overlapping: True for masks that are bits of one number.
      folder: the folder of the prepared data, for the error if a record is damaged.
    """

    def __init__(self, records: Any, num_classes: int, overlapping: bool, folder: str | Path = ""):
        self._records, self._folder = records, folder
        skip = {key: tfds.decode.SkipDecoding() for key in PIXELS if key in records.dataset_info.features}
        self._encoded = dataclasses.replace(records, decoders=skip)
        self._bits = np.arange(num_classes, dtype=np.uint16) if overlapping else None

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self._read(self._records, index)
        for key in GREY:
            if key in example:
                example[key] = example[key][..., 0]
        if self._bits is not None:
            example["mask"] = (example["mask"][..., None] >> self._bits & 1).astype(np.uint8)
        texts = {key: value.decode() for key, value in example.items() if isinstance(value, bytes)}
        return example | texts

    def size(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of an image in pixels, read from the header of its PNG or TIFF."""
        return encoding.size_of(self._read(self._encoded, index)["image"])

    def _read(self, records, index: int) -> dict[str, Any]:
        try:
            example = dict(records[index])
            if records is self._records and isinstance(example.get("image"), bytes):
                example["image"] = encoding.from_tiff(example["image"])
            return example
        except (OSError, ValueError, RuntimeError) as error:
            if isinstance(error, ValueError) and not 0 <= index < len(records):
                raise
            raise UserError(
                f"{self._folder}: prepared example {index} cannot be read ({with_own_names(first_line(error))}); delete that folder and start "
                "again, then the data are prepared anew"
            ) from error


def cache_key(builder_cls: type[Builder], config: dict[str, Any], fingerprint: str) -> str:
    """Returns 64 hex digits that identify a prepared data set.

    Args:
      builder_cls: the builder; its name and version count.
      config: as in `prepare`.
      fingerprint: as in `prepare`.
    """
    return json_sha256([FORMAT, builder_cls.name, str(builder_cls.VERSION), config, fingerprint])


def prepare(
    builder_cls: type[Builder],
    config: dict[str, Any],
    fingerprint: str,
    cache_dir: str = "",
    inputs: dict[str, Any] | None = None,
    check_inputs: Callable[[], None] = lambda: None,
) -> dict[str, Source]:
    """Runs the builder unless its result is in the cache, and returns a source for each split that has examples.

    Args:
      builder_cls: the builder.
      config: the builder's `settings`; can be written as JSON.
      fingerprint: text that changes with everything else that the examples depend on, e.g. the hash of the files.
      cache_dir: folder of prepared data, see `cache.cache_folder`.
      inputs: the builder's `inputs`; not part of the key.
      check_inputs: called after all examples were made; raises if the inputs no longer have the fingerprint. Then nothing is
        kept.

    Raises:
      UserError: the cache cannot be written, or as `check_inputs`.
    """
    folder = cache_folder(cache_dir) / builder_cls.name
    final = folder / cache_key(builder_cls, config, fingerprint)[:24]
    try:
        seen = _inode(final)
        if damage := _damage(final, cache_dir):
            print(f"{final}: {damage}; the data are prepared again", file=sys.stderr, flush=True)
            # Another process may have done so in the meantime.
            if _inode(final) == seen:
                _remove(final)
        if not final.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(folder)
            print(f"preparing the data set {builder_cls.name}, once, into {final} ...", file=sys.stderr, flush=True)
            _run(builder_cls, config, inputs, final, check_inputs)
    except OSError as error:
        # The error comes from the cache: for a file that cannot be read the builder raises a UserError.
        raise cache_write_error(folder, error) from error
    builder = _builder(builder_cls, config, final)
    sources = {}
    for split in sorted(builder.info.splits, key=SPLITS.index):
        records = builder.as_data_source(split)
        sources[split] = Source(records, config["num_classes"], config["overlapping"], final)
    return sources


def _inode(path: Path) -> int | None:
    return os.lstat(path).st_ino if os.path.lexists(path) else None


def _damage(final: Path, cache_dir: str) -> str:
    """Returns why a prepared data set cannot be used, or "" if it is as it was written or does not exist."""
    if not os.path.lexists(final):
        return ""
    listed = read_checked(final / FILES)
    if not listed:
        return f"{FILES}, the list of its files, is missing or damaged"
    paths = {name: final / name for name in listed}
    for name, path in paths.items():
        if not path.is_file():
            return f"{name} is missing"
    digests = file_digests(paths.values(), cache_dir)
    changed = [name for name, path in paths.items() if digests[str(path)] != listed[name]]
    return f"{changed[0]} is not what was written" if changed else ""


def _remove(final: Path) -> None:
    """Deletes a prepared data set, or a file in its place. Another process never sees half of one."""
    trash = final.with_name(f".preparing-{uuid.uuid4().hex}")
    try:
        final.rename(trash)
    except FileNotFoundError:
        # Another process has removed it.
        return
    if trash.is_dir() and not trash.is_symlink():
        shutil.rmtree(trash, ignore_errors=True)
    else:
        trash.unlink(missing_ok=True)


def _run(builder_cls, config, inputs, final: Path, check_inputs) -> None:
    """Prepares the data set in a temporary folder and renames that to `final`."""
    working = final.with_name(f".preparing-{uuid.uuid4().hex}")
    try:
        with _quiet():
            _builder(builder_cls, config, working, inputs).download_and_prepare()
        check_inputs()
        files = sorted(path for path in working.rglob("*") if path.is_file())
        write_checked(working / FILES, {str(path.relative_to(working)): file_sha256(path) for path in files})
        try:
            working.rename(final)
        except OSError:
            # If the folder exists, another process was faster and has written the same.
            if not final.exists():
                raise
    except RuntimeError as error:
        # ArrayRecord's writer raises these, e.g. on a full disk, and names its file.
        if working.name not in str(error):
            raise
        raise OSError(str(error).partition("; ")[0]) from error
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _builder(builder_cls, config, data_dir, inputs=None) -> Builder:
    # The folder above exists.
    plain = plain_folder(data_dir.parent) / data_dir.name
    return builder_cls(settings=config, inputs=inputs, data_dir=plain, file_format="array_record")


def _remove_abandoned(folder: Path, age: float = 24 * 3600) -> None:
    """Deletes folders that killed preparations left behind; no preparation takes as long as `age`, in seconds."""
    for path in folder.glob(".preparing-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > age:
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _quiet():
    """Silences the progress bars, prints and log lines of TFDS during a preparation."""
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        absl.logging.set_verbosity(verbosity)
