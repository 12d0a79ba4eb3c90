"""Damages the files of a run, one at a time, and opens the run: to use it, to go on, to score, to compare, to prune.

A result counts as wrong where it differs from that of the whole files, although the damage could have been noticed.
"""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from helpers.compared_runs import write_run
from helpers.small_config import small_config

from tests.fuzz import mutations
from tests.fuzz.outcomes import Outcome
from tests.fuzz.worker import Here, Worker, judged

# The steps of the run's checkpoints. The first has the better score.
STEPS = (3, 6)
JSON_FILES = ("config.json", "versions.json")
# Doors by the files that they read; `compare` reads its own runs.
DOORS = ("load", "train", "eval", "init_from", "prune", "replay")


def outcomes(seed: int, count: int, *, apart: bool = True, doors: Sequence[str] = DOORS) -> Iterator[Outcome]:
    """Yields the outcome of `count` damages.

    Args:
      seed: of the choice of damages.
      count: how many.
      apart: True opens the runs in another process, which is stopped where it takes too long.
      doors: how runs are opened, in addition to the comparison.
    """
    rng = random.Random(f"run files {seed}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        base = write_base(folder)
        # Every answer compiles the same programs.
        kept = {
            "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        apart_worker = Worker("tests.fuzz.run_files", limit_s=60, environment=kept)
        with apart_worker if apart else Here("tests.fuzz.run_files") as worker:
            expected: dict[str, Any] = {}
            for door in (*doors, "compare"):
                answer = _ask(worker, door, folder, base)
                assert answer["kind"] == "returned", (door, answer)
                expected[door] = answer["value"]
            for number in range(count):
                yield _one(rng, worker, folder, base, expected, number, doors)


def _one(rng, worker, folder: Path, base: Path, expected: dict[str, Any], number: int, doors: Sequence[str]) -> Outcome:
    door, path, mutation = _choose(rng, base, number)
    door = door if door in expected else rng.choice(doors)
    answer = _ask(worker, door, folder, base, path, mutation)

    def is_wrong(value: Any) -> str:
        whole = expected[door]
        changed = [key for key in whole if whole[key] != value[key]]
        # After a crash, the last rows of metrics.jsonl are gone.
        rows_left = mutation.name in ("truncated", "deleted", "empty")
        if path.name == "metrics.jsonl" and (
            rows_left or _is_another_row(mutation, folder / "copy" / "run" / path.name)
        ):
            changed = [key for key in changed if key != "rows"]
        if mutation.unknowable or _is_said(answer["printed"], path.relative_to(base)):
            return ""
        return ", ".join(f"{key} {whole[key]} became {value[key]}" for key in changed)

    return judged(f"files of a run: {door}", f"{path.relative_to(base)}: {mutation.name}", answer, is_wrong)


def _is_another_row(mutation: mutations.Mutation, path: Path) -> bool:
    """Returns True where a flipped bit gave another whole row."""
    return mutation.name == "a bit flipped" and all(map(mutations.parses, path.read_bytes().splitlines()))


def _is_said(printed: str, path: Path) -> bool:
    """Returns True where a warning or a note names the file, or the step of its checkpoint."""
    name = next((part for part in path.parts if part.isdecimal()), path.name)
    said = [line for line in printed.splitlines() if "warning" in line or "note" in line]
    return any(re.search(rf"\b{re.escape(name)}\b", line) for line in said)


def _choose(rng: random.Random, base: Path, number: int) -> tuple[str, Path, mutations.Mutation]:
    """Returns a door, a file that it reads, and a damage to the file; every kind of file in turn."""
    run = base / "run"
    of_checkpoints = sorted(path for path in (run / "checkpoints").rglob("*") if path.is_file())
    kind = ("checkpoint", "json", "metrics", "checkpoint", "json", "eval", "place")[number % 7]
    if kind == "checkpoint":
        path = rng.choice(of_checkpoints)
        twins = [p for p in of_checkpoints if p != path and p.name == path.name]
        return rng.choice(("load", "train", "init_from")), path, mutations.of_bytes(rng, path, twins)
    if kind == "metrics":
        path = run / "metrics.jsonl"
        lines = path.read_text().splitlines()
        if rng.random() < 0.3:
            return "train", path, mutations.of_bytes(rng, path)
        at = rng.randrange(len(lines))
        return "train", path, _of_line(rng, lines, at)
    if kind == "eval":
        path = base / "compared" / "one" / "eval" / "val.json"
        return "compare", path, mutations.of_json(rng, path.read_text())
    if kind == "place":
        path = rng.choice([run / "config.json", run / "versions.json", run / "metrics.jsonl"])
        path = rng.choice([path, base / "compared" / "one" / "eval" / "val.json", base / "pruned" / "versions.json"])
        door = {"compared": "compare", "pruned": "prune"}.get(path.relative_to(base).parts[0], rng.choice(DOORS))
        name = rng.choice(list(mutations.PLACES))
        return door, path, mutations.Mutation(name, mutations.PLACES[name])
    folder, door = rng.choice([(run, door) for door in DOORS] + [(base / "compared" / "one", "compare")])
    name = rng.choice(JSON_FILES)
    if door == "prune" and rng.random() < 0.7:
        folder, name = base / "pruned", "versions.json"
    path = folder / name
    return door, path, mutations.of_json(rng, path.read_text())


def _of_line(rng: random.Random, lines: list[str], at: int) -> mutations.Mutation:
    """Returns a damage to one line of a file of JSON lines."""
    one = mutations.of_json(rng, lines[at])

    def apply(path: Path) -> None:
        one.apply(path)
        changed = path.read_bytes()
        parts = [line.encode() for line in lines]
        parts[at] = changed.rstrip(b"\n")
        path.write_bytes(b"\n".join(parts) + b"\n")

    # A row may hold any metrics, and null for NaN.
    metrics = [key for key in json.loads(lines[at]) if key not in ("step", "split")]
    other_metrics = one.name.startswith("key added") or any(
        one.name == f"{key} removed" or (one.name.startswith(f"{key} ") and one.name.endswith("-> null"))
        for key in metrics
    )
    return mutations.Mutation(f"line {at + 1}: {one.name}", apply, one.unknowable or other_metrics)


def _ask(worker, door: str, folder: Path, base: Path, path: Path | None = None, mutation=None) -> dict[str, Any]:
    """Damages a copy of the files, and asks for the door's answer."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(base, copy)
    if path is not None:
        mutation.apply(copy / path.relative_to(base))
    return worker.ask({"door": door, "folder": str(copy), "cache": str(folder / "cache")})


def write_base(folder: Path) -> Path:
    """Writes a run with two checkpoints and a pruned network; returns their folder."""
    from unet_jax.analysis.prune import extract
    from unet_jax.checkpoints.checkpointer import Checkpointer
    from unet_jax.experiment.build import build_experiment
    from unet_jax.runs.workdir import add_start, open_workdir
    from unet_jax.tracking.metrics_file import MetricWriter

    base = folder / "base"
    config = _config(str(folder / "cache"))
    parts = build_experiment(config)
    run = open_workdir(base / "run", config, parts.dataset, 6)
    add_start(run, 0, memory=2**30, init_from={})
    numbers = np.random.default_rng(0)
    # Quicker than to compile the network's initialisation.
    state = jax.tree.map(
        lambda leaf: numbers.normal(size=leaf.shape).astype(leaf.dtype), jax.eval_shape(parts.create_state)
    )
    with Checkpointer(run / "checkpoints", latest=2) as checkpointer:
        for step, score in zip(STEPS, (0.9, 0.8), strict=True):
            checkpointer.save(step, state.replace(step=np.int32(step)), score)
    writer = MetricWriter(run / "metrics.jsonl")
    for step in (2, 3, 4, 6):
        writer.write(step, "train", {"loss": 1 / step, "learning_rate": 0.1})
        if step in STEPS:
            writer.write(step, "val", {"loss": 1 / step, "iou_pooled/mean": 0.5})
    with contextlib.redirect_stdout(None):
        extract.write(base / "run", base / "pruned", level=1, mode="fast", step=3, score=0.9)
    made = folder / "checkpoints"
    with Checkpointer(made) as checkpointer:
        for step, score in zip(STEPS, (0.9, 0.8), strict=True):
            checkpointer.save(step, {"w": np.ones(1)}, score)
    (base / "compared").mkdir()
    for name, seed in (("one", 0), ("two", 1)):
        write_run(base / "compared", made, name, seed=seed)
    return base


def _config(cache: str):
    config = small_config(cache)
    # U-Net++ with heads on two levels, which can be pruned.
    config.model.widths = (2, 2, 4)
    config.train.num_steps = 9
    return config


def answer(request: dict[str, str]) -> Any:
    """Opens the files in `request["folder"]` by a door; returns all that the result depends on."""
    from unet_jax.checkpoints import checkpointer

    # Notes are printed once in a process, and every copy has the same path.
    checkpointer._printed.clear()
    return globals()[f"_{request['door']}"](Path(request["folder"]), request["cache"])


def _opened(run) -> dict[str, Any]:
    from unet_jax.checkpoints.tree import leaf_digests

    predictor = run.predictor
    fields = ("class_names", "channels", "report_classes", "normalize", "mode", "level", "pad_multiple")
    about = {name: str(getattr(predictor, name)) for name in fields}
    return about | {"step": run.step, "weights": run.weights, "variables": _digest(leaf_digests(predictor.variables))}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _load(folder: Path, cache: str) -> dict[str, Any]:
    from unet_jax.runs.load import open_model

    return _opened(open_model(folder / "run"))


def _eval(folder: Path, cache: str) -> dict[str, Any]:
    from unet_jax.runs import score
    from unet_jax.runs.load import open_model

    run = open_model(folder / "run")
    dataset = score.open_dataset(run, folder / "run")
    return _opened(run) | {"data": dataset.fingerprint, "palette": str(run.facts["palette"])}


def _train(folder: Path, cache: str) -> dict[str, Any]:
    from unet_jax.checkpoints.tree import leaf_digests
    from unet_jax.runs.training_run import open_training_run
    from unet_jax.runtime import parallel
    from unet_jax.tracking.metrics_file import read_metrics

    with open_training_run(_config(cache), folder / "run") as run:
        state = _digest(leaf_digests(parallel.to_host(run.state)))
        rows = read_metrics(folder / "run" / "metrics.jsonl")
        starts = json.loads((folder / "run" / "versions.json").read_text())["starts"]
        best = run.checkpointer.best_step()
        return {"start": run.start_step, "best": best, "state": state, "rows": _digest(rows), "starts": len(starts)}


def _init_from(folder: Path, cache: str) -> dict[str, Any]:
    from unet_jax.checkpoints.tree import leaf_digests
    from unet_jax.experiment.build import build_experiment
    from unet_jax.runs.warm_start import initialize_from

    parts = build_experiment(_config(cache))
    state, origin = initialize_from(parts.create_state(), parts.tx, str(folder / "run"))
    return {"step": origin["step"], "params": _digest(leaf_digests(state.params))}


def _prune(folder: Path, cache: str) -> dict[str, Any]:
    from unet_jax.analysis.prune import extract
    from unet_jax.runs.load import open_run

    extract.check_free(folder / "pruned", overwrite=True)
    extract.write(folder / "run", folder / "pruned", level=2, mode="fast", step=3, score=0.5, overwrite=True)
    return _opened(open_run(folder / "pruned"))


def _replay(folder: Path, cache: str) -> dict[str, Any]:
    from unet_jax.runs.replay import Replay

    replay = Replay.of_run(folder / "run")
    return {"saved": replay.saved, "best": replay.step_of("best")}


def _compare(folder: Path, cache: str) -> dict[str, Any]:
    from unet_jax.analysis.compare import comparison

    with contextlib.chdir(folder):
        result = comparison.compare([os.path.join("compared", name) for name in ("one", "two")], splits=["val"])
    return {key: _digest(result[key]) for key in ("num_images", "report_classes", "groups", "pairs")}
