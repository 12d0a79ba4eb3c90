"""Damages files of weights: state dicts, weights of an encoder, and the two files of a network that the package ships.

A result counts as wrong where an array or an option differs from that of the whole file, although the damage could have been
noticed: .npz has a checksum of each array, and the record of a shipped network has one of the whole file.
"""

import hashlib
import io
import json
import random
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.outcomes import Outcome
from tests.fuzz.worker import Here, Worker, judged

DOORS = {"state dict": "state.npz", "encoder": "encoder.npz", "shipped": "small.npz", "record": "small.json"}
ENCODER = "resnet34"
SHAPES = {"params/stem_conv/kernel": (3, 3, 3, 2), "params/stem_norm/scale": (2,), "batch_stats/stem_norm/mean": (2,)}


def outcomes(seed: int, count: int, *, apart: bool = True) -> Iterator[Outcome]:
    """Yields the outcome of `count` damages.

    Args:
      seed: of the choice of damages.
      count: how many.
      apart: True reads the files in another process, which is stopped where it takes too long.
    """
    rng = random.Random(f"weight files {seed}")
    with tempfile.TemporaryDirectory() as temporary:
        base, copy = Path(temporary) / "base", Path(temporary) / "copy"
        _write_weights(base)
        with Worker("tests.fuzz.weight_files", limit_s=15) if apart else Here("tests.fuzz.weight_files") as worker:
            expected = {door: worker.ask({"door": door, "folder": str(base)}) for door in DOORS}
            assert all(answer["kind"] == "returned" for answer in expected.values()), expected
            for number in range(count):
                door = list(DOORS)[number % len(DOORS)]
                mutation = _choose(rng, base, door)
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(base, copy)
                mutation.apply(copy / DOORS[door])
                answer = worker.ask({"door": door, "folder": str(copy)})
                whole = expected[door]["value"]
                different = "" if mutation.unknowable else "the result is another one"
                yield judged(
                    f"files of weights: {door}",
                    mutation.name,
                    answer,
                    lambda value, whole=whole, different=different: "" if value == whole else different,
                )


def _write_weights(folder: Path) -> None:
    import jax

    from unet_jax.configs import default
    from unet_jax.models import build
    from unet_jax.models.encoders.weights import write_encoder_weights
    from unet_jax.pretrained import shipped

    rng = np.random.default_rng(0)
    folder.mkdir()
    np.savez(folder / "state.npz", **{name: rng.normal(size=shape) for name, shape in SHAPES.items()})
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    write_encoder_weights(folder / "encoder.npz", ENCODER, arrays)
    config = default.get_config()
    config.model.widths = (2, 4)
    network = build("unet_pp", num_classes=3, widths=(2, 4))
    shapes = jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))
    variables = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    names = ["background", "anode", "cathode"]
    facts = {"fingerprint": "ab", "class_names": names, "channels": 1, "dtype": "uint8", "overlapping": False}
    facts |= {"palette": [[0, 0, 0], [255, 0, 0], [0, 255, 0]], "splits": {"train": 3, "val": 1}}
    record = {"config": json.loads(config.to_json()), "data": facts, "num_classes": 3, "step": 3, "weights": "raw"}
    shipped.write("small", variables, record, folder)


def _choose(rng: random.Random, base: Path, door: str) -> mutations.Mutation:
    path = base / DOORS[door]
    if door == "record":
        return mutations.of_json(rng, path.read_text()) if rng.random() < 0.8 else mutations.of_bytes(rng, path)
    if rng.random() < 0.5:
        # A state dict may hold any arrays.
        others = [] if door == "state dict" else [other for other in base.glob("*") if other != path]
        return mutations.of_bytes(rng, path, others)
    return _of_arrays(rng, path)


def _of_arrays(rng: random.Random, path: Path) -> mutations.Mutation:
    """Returns a whole .npz with one array less, or with another array in its place."""
    with np.load(path) as file:
        arrays: dict[str, Any] = dict(file)
    key = rng.choice(list(arrays))
    array = arrays[key]
    numbers = array if array.dtype.kind == "f" else np.ones(3)
    others = {
        "objects": np.array([None, {}], object),
        "text": np.array(["a", "b"]),
        "bytes": np.array([b"a"]),
        "complex numbers": numbers.astype(complex) + 1j,
        "whole numbers": np.ones(numbers.shape, np.int64) * 3,
        "truth values": numbers > 0,
        "float16": numbers.astype(np.float16),
        "a structure": np.zeros(numbers.shape, [("a", np.float32), ("b", np.int8)]),
        "dates": np.zeros(numbers.shape, "datetime64[s]"),
        "NaN": np.full_like(numbers, np.nan),
        "infinite": np.full_like(numbers, np.inf),
        "too large for float32": np.full(numbers.shape, 1e300),
        "a single number": np.float32(3),
        "no number": np.zeros(0, np.float32),
        "another shape": np.zeros((*numbers.shape, 2), np.float32),
        "many axes": np.zeros((1,) * 30, np.float32),
    }
    # A header that declares far more than the file holds.
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header,
        {"descr": "<f4", "fortran_order": False, "shape": rng.choice([(10**9, 10**9), (2**63,), (-1,), (10**11,)])},
    )
    raw = {"a shape larger than the file": header.getvalue(), "no array": b"text", "an empty member": b""}
    name = rng.choice(["removed", *others, *raw])
    if name == "removed":
        del arrays[key]
    elif name in others:
        arrays[key] = others[name]
    content = io.BytesIO()
    np.savez(content, **arrays)
    if name in raw:
        content = _with_member(content, f"{key}.npy", raw[name])
    # Other values of the same kind, of a file that has no checksum of the whole.
    free = path.name != "small.npz" and name not in raw
    return mutations.Mutation(f"{key}: {name}", lambda at: mutations.write(at, content.getvalue()), unknowable=free)


def _with_member(archive: io.BytesIO, name: str, content: bytes) -> io.BytesIO:
    changed = io.BytesIO()
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(changed, "w") as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))
    return changed


def answer(request: dict[str, str]) -> Any:
    """Reads the file of a door, and returns a digest of all that was read."""
    from unet_jax.models.encoders import state_dict, weights
    from unet_jax.pretrained import shipped
    from unet_jax.runs import load

    folder = Path(request["folder"])
    path = folder / DOORS[request["door"]]
    if request["door"] == "state dict":
        return _digest(state_dict.read_state_dict(path))
    if request["door"] == "encoder":
        variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
        for name, shape in SHAPES.items():
            kind, module, leaf = name.split("/")
            encoder = variables[kind].setdefault("encoder", {})
            encoder.setdefault(module, {})[leaf] = np.zeros(shape, np.float32)
        loaded, _ = weights.load_encoder_weights(variables, path, ENCODER)
        arrays = weights.flatten(loaded)
        assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values())
        assert {name.replace("/encoder", ""): array.shape for name, array in arrays.items()} == SHAPES
        return _digest(arrays)
    before, shipped.FOLDER = shipped.FOLDER, folder
    try:
        run = load.open_shipped("small")
    finally:
        shipped.FOLDER = before
    predictor = run.predictor
    options = [run.config.to_json(sort_keys=True), json.dumps(run.facts, sort_keys=True), run.step, run.weights]
    return [*options, predictor.class_names, predictor.channels, _digest(weights.flatten(predictor.variables))]


def _digest(arrays: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.asarray(array)
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:16]
