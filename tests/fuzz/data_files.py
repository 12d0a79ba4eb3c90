"""Damages what the package reads of a data set besides pixels: prepared records, remembered facts, and tables of splits.

A result counts as wrong where an example differs from that of the whole files, although the damage could have been noticed.
"""

import hashlib
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.fuzz import mutations
from tests.fuzz.outcomes import Outcome
from tests.fuzz.worker import Here, Worker, judged

IDS = [f"cell {number}" for number in range(8)]
SPLIT_OF = ("train", "train", "train", "train", "train", "val", "val", "test")


def outcomes(seed: int, count: int, *, apart: bool = True) -> Iterator[Outcome]:
    """Yields the outcome of `count` damages.

    Args:
      seed: of the choice of damages.
      count: how many.
      apart: True loads the data in another process, which is stopped where it takes too long.
    """
    rng = random.Random(f"data files {seed}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        base = folder / "base"
        _write_images(base / "root")
        with Worker("tests.fuzz.data_files", limit_s=10) if apart else Here("tests.fuzz.data_files") as worker:
            # Prepares the data, and so writes the cache, which lies at the same path in every copy.
            copy = folder / "copy"
            shutil.copytree(base, copy)
            expected = {door: worker.ask({"door": door, "folder": str(copy)}) for door in ("load", "check")}
            assert all(answer["kind"] == "returned" for answer in expected.values()), expected
            shutil.copytree(copy, base, dirs_exist_ok=True, copy_function=shutil.copy2)
            for number in range(count):
                yield _one(rng, worker, base, copy, expected, number)


def _write_images(root: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("images", "masks", "instances"):
        (root / name).mkdir(parents=True)
    for id_ in IDS:
        mask = (rng.random((24, 20)) < 0.4).astype(np.uint8)
        Image.fromarray(rng.integers(0, 255, (24, 20)).astype(np.uint8)).save(root / "images" / f"{id_}.png")
        Image.fromarray(mask).save(root / "masks" / f"{id_}.png")
        Image.fromarray(mask).save(root / "instances" / f"{id_}.png")
    rows = [f"{id_},{split},{id_}" for id_, split in zip(IDS, SPLIT_OF, strict=True)]
    (root / "index.csv").write_text("\n".join(["id,split,group", *rows, ""]))


def _one(rng, worker, base: Path, copy: Path, expected: dict[str, Any], number: int) -> Outcome:
    cache = sorted(path for path in (base / "cache").rglob("*") if path.is_file())
    table = base / "root" / "index.csv"
    door, path = ("load", rng.choice(cache)) if number % 2 else (rng.choice(("load", "check")), table)
    is_text = path.suffix == ".json" and "features" not in path.name
    mutation = mutations.of_json(rng, path.read_text()) if is_text and rng.random() < 0.7 else None
    if path == table and rng.random() < 0.7:
        mutation = _of_table(rng, table.read_text())
    twins = [other for other in cache if other != path and other.suffix == path.suffix]
    mutation = mutation or mutations.of_bytes(rng, path, twins)
    shutil.rmtree(copy)
    shutil.copytree(base, copy, copy_function=shutil.copy2)
    mutation.apply(copy / path.relative_to(base))
    # Another split or another group is a choice of the user.
    same_ids = mutation.name == "a bit flipped" and path == table and _ids(table) == _ids(copy / "root" / "index.csv")
    answer = worker.ask({"door": door, "folder": str(copy)})

    def is_wrong(value: Any) -> str:
        if value == expected[door]["value"] or same_ids or (mutation.unknowable and path == table):
            return ""
        # Without the table the splits are drawn: a user may want that.
        if path == table and mutation.name == "deleted":
            return ""
        return f"{str(expected[door]['value'])[:100]} became {str(value)[:100]}"

    kind = "tables of splits" if path == table else "prepared data"
    return judged(f"{kind}: {door}", f"{path.relative_to(base)}: {mutation.name}", answer, is_wrong)


def _ids(table: Path) -> list[str]:
    """Returns the heading of a table and the first cell of each of its rows."""
    heading, *rows = table.read_text(errors="replace").split("\n")
    return [heading, *(row.partition(",")[0] for row in rows)]


def _of_table(rng: random.Random, text: str) -> mutations.Mutation:
    """Returns a damage to a table: a cell, a row, a column, the separators or the bytes."""
    lines = text.splitlines()
    at = rng.randrange(len(lines))
    cells = lines[at].split(",")
    column = rng.randrange(len(cells))
    value = rng.choice(
        ["", " ", "nan", "../../x", "/etc/hosts", "Train", "test ", '"', "\0", "\ufeff", "é", "0" * 300, "\t"]
    )
    cell = [*cells[:column], value, *cells[column + 1 :]]
    changed = {
        f"line {at + 1}, column {column + 1} -> {value[:10]!r}": [*lines[:at], ",".join(cell), *lines[at + 1 :]],
        f"line {at + 1} removed": [*lines[:at], *lines[at + 1 :]],
        f"line {at + 1} twice": [*lines[: at + 1], *lines[at:]],
        f"line {at + 1}: a cell less": [*lines[:at], ",".join(cells[:-1]), *lines[at + 1 :]],
        f"line {at + 1}: a cell more": [*lines[:at], f"{lines[at]},more", *lines[at + 1 :]],
        "tabs": [line.replace(",", "\t") for line in lines],
        "semicolons": [line.replace(",", ";") for line in lines],
        "the first line alone": lines[:1],
        "no first line": lines[1:],
        "split is called splits": [lines[0].replace("split", "splits"), *lines[1:]],
        "id is called name": [lines[0].replace("id", "name"), *lines[1:]],
    }
    encodings = {
        "UTF-16": "utf-16",
        "BOM": "utf-8-sig",
        "Mac's line ends": "mac",
        "a NUL byte": "nul",
        "not UTF-8": "latin-1",
    }
    name = rng.choice([*changed, *encodings])
    if name in changed:
        content = ("\n".join(changed[name]) + "\n").encode()
    elif name == "Mac's line ends":
        content = text.replace("\n", "\r").encode()
    elif name == "a NUL byte":
        content = text.encode()[: len(text) // 2] + b"\0" + text.encode()[len(text) // 2 :]
    else:
        content = text.replace("cell 3", "cell é" if name == "not UTF-8" else "cell 3").encode(encodings[name])
    # Another split, another group or a table of fewer rows is a choice of the user.
    free = name.startswith("line") and ("column 2" in name or "column 3" in name or "cell less" in name)
    return mutations.Mutation(name, lambda path: mutations.write(path, content), unknowable=free)


def answer(request: dict[str, str]) -> Any:
    """Loads or checks the folder, and returns all that was read."""
    folder = Path(request["folder"])
    if request["door"] == "check":
        from unet_jax.data.check.survey import survey_folder

        survey = survey_folder(str(folder / "root"))
        if survey.errors:
            raise survey.errors[0]
        return [[image.row.id, image.split, image.counts[:2].tolist()] for image in survey.images]
    from unet_jax import data

    dataset = data.load("image_folder", root=str(folder / "root"), cache_dir=str(folder / "cache"), weight_map=True)
    examples = {}
    for split in dataset.splits:
        source = dataset.source(split)
        for index in range(len(source)):
            example = source[index]
            content = [f"{key} {getattr(value, 'dtype', '')}" for key, value in sorted(example.items())]
            arrays = b"".join(np.asarray(value).tobytes() for _, value in sorted(example.items()))
            digest = hashlib.sha256(arrays + "".join(content).encode()).hexdigest()
            examples[f"{split} {index} {example['id']}"] = digest[:12]
    return {"classes": list(dataset.class_names), "channels": dataset.channels, "examples": examples}
