"""Reads `tfds:NAME`: a TensorFlow Datasets set of images and masks that has been prepared as ArrayRecord.

Reading needs no TensorFlow. Most sets need TensorFlow to be prepared; this is done once, in an environment that has it:

    python -c "import tensorflow_datasets as tfds; tfds.builder('NAME', file_format='array_record').download_and_prepare()"

NAME may include a config and a version: oxford_iiit_pet, my_set/my_config:1.2.0. Examples are read from the prepared files
as they are, in their order. Each is checked once, before the first step. TFDS has no groups, so the `group` of an example is
its id: check that no scene has images in two splits.
"""

import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow_datasets as tfds

from unet_jax.data.dataset import SPLITS, Dataset
from unet_jax.data.datasets import image_files, tfds_source
from unet_jax.data.datasets.classes import check_class_settings, count_classes, mask_stats, name_classes
from unet_jax.data.datasets.tfds_source import Keys, TfdsSource
from unet_jax.data.store.cache import file_digests, remember
from unet_jax.data.store.code_digest import code_digest
from unet_jax.errors import UserError
from unet_jax.storage.digests import json_sha256
from unet_jax.storage.paths import absolute
from unet_jax.storage.plain_folder import plain_folder, with_own_names
from unet_jax.storage.write_errors import first_line

# Source files whose code decides what an example is.
READERS = (__file__, *image_files.READERS, tfds_source.__file__)


def load_tfds(
    dataset: str,
    *,
    cache_dir: str = "",
    data_dir: str = "",
    image_key: str = "image",
    mask_key: str = "segmentation_mask",
    id_key: str = "",
    class_names: Sequence[str] = (),
    num_classes: int = 0,
    mask_values: Sequence[int] = (),
    splits: Mapping[str, str] | None = None,
) -> Dataset:
    """Returns a prepared set of TFDS as train, val and test.

    Args:
      dataset: name of the set in TFDS.
      cache_dir: folder where the result of the check is kept; "" means $UNET_JAX_CACHE or ~/.cache/unet_jax/data.
      data_dir: folder of the prepared sets; "" means the default of TFDS ($TFDS_DATA_DIR or ~/tensorflow_datasets).
      image_key: feature that holds the image (8 or 16 bits, grey or RGB).
      mask_key: feature that holds the mask (whole numbers).
      id_key: feature whose value is the id of an example; "" makes the id from its split and its index there.
      class_names: as in `image_folder`.
      num_classes: as in `image_folder`.
      mask_values: as in `image_folder`.
      splits: TFDS expression for each of train, val and test, e.g. {"train": "train[:90%]", "val": "train[90%:]", "test":
        "test"}; "" leaves a split out. Two splits must not share an example. None means all of "train" as train.

    Raises:
      UserError: the set is missing, is not stored as ArrayRecord, or an example does not fit the options.
    """
    known_classes, mask_values, _ = check_class_settings(class_names, num_classes, mask_values, ())
    builder = _open(dataset, data_dir)
    keys = Keys(image_key, mask_key, id_key)
    _check_keys(builder, keys)
    splits = {"train": "train"} if splits is None else {split: text for split, text in splits.items() if text}
    parts = _parts(builder, splits)
    sources = {}
    for split in sorted(parts, key=SPLITS.index):
        try:
            sources[split] = TfdsSource(builder, split, splits[split], keys, mask_values)
        except Exception as error:
            # This happens, for example, if a file that dataset_info.json lists is missing.
            raise UserError(
                f"tfds:{dataset}: split {splits[split]!r} cannot be opened ({with_own_names(first_line(error))}); prepare the set again"
            ) from error
    code = code_digest(READERS)
    paths = sorted({piece[0] for pieces in parts.values() for piece in pieces})
    for path in paths:
        if not os.path.exists(path):
            raise UserError(f"tfds:{dataset}: {with_own_names(path)} is missing; prepare the set again")
    digests = file_digests(paths, cache_dir)
    stored = {
        split: [[Path(file).name, digests[file], *part] for file, *part in pieces] for split, pieces in parts.items()
    }
    contents = [builder.info.full_name, builder.info.features.to_json(), stored]
    fingerprint = json_sha256([code, contents, [dataclasses.astuple(keys), mask_values]])
    checked = json_sha256([fingerprint, known_classes])
    facts = remember(checked, lambda: _check(dataset, sources, known_classes, mask_values), cache_dir)
    for source in sources.values():
        source.channels = facts["channels"]
    return Dataset(
        name=f"tfds:{dataset}",
        class_names=name_classes(class_names, facts["num_classes"]),
        channels=facts["channels"],
        overlapping=False,
        fingerprint=fingerprint,
        dtype=facts["dtype"],
        sources=sources,
        remedy="set data.splits",
    )


def _open(dataset: str, data_dir: str):
    """Returns a builder that reads the prepared files; it does not need the code that made them."""
    options = {"data_dir": os.fspath(absolute(data_dir))} if data_dir else {}
    arguments = "".join(f", {key}={value!r}" for key, value in (options | {"file_format": "array_record"}).items())
    program = f"import tensorflow_datasets as tfds; tfds.builder({dataset!r}{arguments}).download_and_prepare()"
    try:
        builder = tfds.core.read_only_builder.builder_from_files(
            dataset, **{key: str(plain_folder(folder)) for key, folder in options.items()}
        )
    except tfds.core.DatasetNotFoundError as error:
        raise UserError(
            f"tfds:{dataset}: is not prepared in {data_dir or tfds.core.constants.DATA_DIR}; set data.data_dir, or "
            f"prepare it where TensorFlow is installed: python -c {shlex.quote(program)}"
        ) from error
    except Exception as error:
        # Possible reasons: the name is malformed, there are two versions, or a file may not be read.
        raise UserError(
            f"tfds:{dataset}: cannot be opened ({with_own_names(first_line(error))}); set data.data_dir"
        ) from error
    if tfds.core.FileFormat.ARRAY_RECORD not in builder.info.available_file_formats():
        data_path = with_own_names(str(builder.data_path))
        raise UserError(
            f"tfds:{dataset}: is stored as {builder.info.file_format.value} in {data_path}, without random "
            "access; convert it where TensorFlow is installed: tfds convert_format --out_file_format=array_record "
            f"--dataset_version_dir={shlex.quote(data_path)}"
        )
    return builder


def _check_keys(builder, keys: Keys) -> None:
    features = builder.info.features
    for option, key in (("image_key", keys.image), ("mask_key", keys.mask), ("id_key", keys.id_)):
        if key not in features and (key or option != "id_key"):
            raise UserError(
                f"tfds:{builder.info.name}: data.{option}={key!r} is not a feature; choose one of "
                f"{', '.join(sorted(features))}"
            )


def _parts(builder, splits: Mapping[str, str]) -> dict[str, list]:
    """Returns [file, first, end] of each piece of each split; raises UserError if two splits share examples."""
    parts = {}
    for split, expression in splits.items():
        if split not in SPLITS:
            raise UserError(f"data.splits has no split {split!r}; choose from {', '.join(SPLITS)}")
        try:
            pieces = builder.info.splits[expression].file_instructions
        except (ValueError, KeyError) as error:
            counts = ", ".join(f"{name} ({info.num_examples})" for name, info in builder.info.splits.items())
            raise UserError(
                f"tfds:{builder.info.name}: data.splits.{split}={expression!r} is not a split; choose from {counts}, or a "
                'part such as "train[:90%]"'
            ) from error
        parts[split] = [[str(p.filename), p.skip, p.skip + _taken(p)] for p in pieces if _taken(p)]
    for split, pieces in parts.items():
        for other in list(parts)[: list(parts).index(split)]:
            shared = sum(
                max(min(a[2], b[2]) - max(a[1], b[1]), 0) for a in pieces for b in parts[other] if a[0] == b[0]
            )
            if shared:
                raise UserError(
                    f"data.splits: {other}={splits[other]!r} and {split}={splits[split]!r} share {shared} examples; "
                    'make them disjoint, e.g. "train[:90%]" and "train[90%:]"'
                )
    return {split: pieces for split, pieces in parts.items() if pieces}


def _taken(piece) -> int:
    return piece.take if piece.take >= 0 else piece.examples_in_shard - piece.skip


def _check(dataset: str, sources: Mapping[str, TfdsSource], known_classes: int, mask_values) -> dict:
    """Reads every example once; returns what all examples have in common: channels, dtype and num_classes."""
    total = sum(map(len, sources.values()))
    if not total:
        raise UserError(f"tfds:{dataset}: no split has an example; set data.splits to splits that have some")
    print(f"checking the {total} examples of tfds:{dataset}, once ...", file=sys.stderr, flush=True)

    def read_one(place):
        split, index = place
        try:
            example = sources[split][index]
        except UserError:
            raise
        except Exception as error:
            # TFDS and the decoders raise errors of many types.
            raise UserError(
                f"tfds:{dataset}: example {index} of {split} cannot be read ({first_line(error)}); prepare the set again"
            ) from error
        return (
            example["id"],
            example["image"].shape[-1],
            str(example["image"].dtype),
            mask_stats(example["mask"], known_classes),
        )

    places = [(split, index) for split, source in sources.items() for index in range(len(source))]
    with ThreadPoolExecutor(2) as pool:
        ids, channels, dtypes, stats = zip(*pool.map(read_one, places), strict=True)
    num_repeated = len(ids) - len(set(ids))
    if num_repeated:
        raise UserError(
            f"tfds:{dataset}: {num_repeated} examples have the same id as another one; set data.id_key to another feature, or to ''"
        )
    masks = [f"tfds:{dataset} {id_}" for id_ in ids]
    return {
        "channels": max(channels),
        "dtype": dtypes[0],
        "num_classes": count_classes(masks, stats, known_classes, mask_values),
    }
