"""Imports annotations into the cache of prepared data, once per content, for `data.root` that names a source."""

import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

from unet_jax.data.annotations import convert, registry
from unet_jax.data.annotations.source import open_source
from unet_jax.data.datasets import image_files
from unet_jax.data.store.cache import cache_folder, file_digests
from unet_jax.data.store.code_digest import code_digest
from unet_jax.runtime import processes
from unet_jax.storage import json_file, paths
from unet_jax.storage.digests import json_sha256
from unet_jax.storage.write_errors import report_write_errors

READERS = (*sorted(map(str, Path(__file__).parent.rglob("*.py"))), *image_files.READERS)
REMEDY = "remove this folder of the cache; the annotations are then imported again"


def folder_of(root: str, masks_dir: str = "masks", cache_dir: str = "") -> tuple[str, dict[str, Any]]:
    """Returns the folder of images and masks that `root` names, and keys of `config.data` that it needs.

    Where `root` is a file of annotations, or a folder without masks that holds some, this is its import with the default
    options, in the cache: CACHE/annotations/. It is made once, and again where an annotation or an image changes.

    Args:
      root: `data.root`.
      masks_dir: `data.masks_dir`.
      cache_dir: folder of prepared data; "" means $UNET_JAX_CACHE or ~/.cache/unet_jax/data.

    Returns:
      `root` itself and no keys where it is no source of annotations.

    Raises:
      UserError: the annotations cannot be imported.
    """
    if not root or "://" in root:
        return root, {}
    path = Path(paths.absolute(root))
    if not path.exists() or (path / masks_dir).exists():
        return root, {}
    source = open_source(path)
    if not any(row.recognise(source) for row in registry.FORMATS.values()):
        return root, {}
    folder = cache_folder(cache_dir) / "annotations"
    key = json_sha256([code_digest(READERS), str(path), file_digests(source.files, cache_dir)])
    memo = folder / f"{key}.json"
    if memo.exists():
        known = json_file.read_object(memo, REMEDY)
        imported = folder / known["folder"]
        if imported.exists() and file_digests(known["images"], cache_dir) == known["images"]:
            return str(imported), json_file.read_object(imported / "import.json", REMEDY)["data"]
    print(f"{root}: importing annotations, with the default flags of `unet-jax import`", file=sys.stderr)
    made = folder / f"part-{uuid.uuid4().hex}"
    facts = convert.convert(path, made)
    with report_write_errors():
        copies = file_digests([made / "images" / name for name in facts["files"]], cache_dir)
        images = dict(zip(facts["files"].values(), copies.values(), strict=True))
        imported = folder / json_sha256([key, images])[:24]
        if imported.exists():
            shutil.rmtree(made)
        else:
            made.rename(imported)
        json_file.write(memo, {"folder": imported.name, "images": images})
    return str(imported), facts["data"]


def take_annotations(options: dict[str, Any]) -> None:
    """Changes the options of `load_image_folder` where their `root` names annotations; see `folder_of`.

    Options that are given stay. Every process of a job must call this, because process 0 imports first.

    Args:
      options: they hold at least `root`.

    Raises:
      UserError: as `folder_of`.
    """

    def imported() -> tuple[str, dict[str, Any]]:
        return folder_of(options["root"], options.get("masks_dir", "masks"), options.get("cache_dir", ""))

    options["root"], data = processes.process_0_first("import annotations", imported)
    for key, value in data.items():
        if not options.get(key):
            options[key] = tuple(value)
