"""The folder of a run, and its record in `config.json` and `versions.json`.

WORKDIR/config.json           every key of the config; a run resumes only with the same (resume.py)
WORKDIR/versions.json         data facts; packages, git commit, devices, settings of XLA and JAX of each start
WORKDIR/metrics.jsonl         one JSON object a line (tracking/metrics_file.py)
WORKDIR/curves.png            plot of metrics.jsonl
WORKDIR/tensorboard/          events, with train.tensorboard (tracking/tensorboard.py)
WORKDIR/profile/              traces, with --profile_steps (tracking/profiler.py)
WORKDIR/checkpoints/          Orbax (checkpoints/checkpointer.py)
WORKDIR/eval/                 scores, masks and pictures
WORKDIR/checkpoints_damaged/  checkpoints that a resumed run could not use (checkpoints/recover.py)

A run that is started again resumes from its latest whole checkpoint. A damaged checkpoint (a file missing or cut off, a bit
flipped) is moved to `checkpoints_damaged/`, and its leaf or file and the reason are printed. If no checkpoint is whole, the
run stops, moves nothing, and does not start anew. A full disk stops a run as well: the message says how much the checkpoint
needs, what is free, and which checkpoint the same command resumes from (checkpoints/disk_space.py).
"""

import contextlib
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import jax
from etils.epath import Path
from ml_collections import ConfigDict

from unet_jax.checkpoints import disk_space
from unet_jax.checkpoints.checkpointer import saved_steps
from unet_jax.data.dataset import Dataset
from unet_jax.errors import UserError
from unet_jax.experiment.imports import digests, run_files
from unet_jax.experiment.sections import read_sections
from unet_jax.runs.resume import resume_conflict
from unet_jax.runtime import processes
from unet_jax.storage import json_file, paths
from unet_jax.storage.digests import file_sha256
from unet_jax.storage.write_errors import report_write_errors

# Keys that a resumed run may change. No result depends on them, except that `train.patience` decides where a run ends.
# The data of `data.root`, `data.split_file` and `data.data_dir` may move; their fingerprint must stay.
FREE = (
    "imports",
    "data.root",
    "data.split_file",
    "data.data_dir",
    "data.cache_dir",
    "data.num_threads",
    "data.cache_bytes",
    "train.log_every",
    "train.patience",
    "train.tensorboard",
    "eval.batch_size",
    "eval.num_pictures",
    "checkpoint.every",
    "checkpoint.latest",
)
# Packages that results depend on, those of them that are installed.
PACKAGES = (
    "unet-jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "ml-dtypes",
    "ml-collections",
    # What devices compute with.
    "libtpu",
    "jax-cuda13-plugin",
    "nvidia-cudnn-cu13",
    "nvidia-cublas",
    "jax-cuda12-plugin",
    "nvidia-cudnn-cu12",
    "nvidia-cublas-cu12",
    # What restores a checkpoint.
    "orbax-checkpoint",
    "tensorstore",
    # What decides the order of the examples.
    "tensorflow-datasets",
    "array-record",
    "grain",
    # What reads pixels and computes masks and weight maps.
    "numpy",
    "scipy",
    "scikit-image",
    "opencv-python-headless",
    "pillow",
)
# Settings of JAX that results depend on.
SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
)
# A key of versions.json, in the folder of a pruned network (analysis/prune/extract.py).
PRUNED = "pruned"


def data_facts(dataset: Dataset) -> dict:
    """Returns the properties of a data set that a trained network depends on, as JSON holds them."""
    return {
        "fingerprint": dataset.fingerprint,
        "class_names": list(dataset.class_names),
        "channels": dataset.channels,
        "dtype": dataset.dtype,
        "overlapping": dataset.overlapping,
        "palette": [list(colour) for colour in dataset.palette],
        "splits": dataset.splits,
    }


def open_workdir(workdir, config: ConfigDict, dataset: Dataset, num_steps: int) -> Path:
    """Makes the workdir and writes `config.json` and `versions.json`, or checks those of the run that is in it.

    Args:
      workdir: the folder.
      config: of the run.
      dataset: the run's.
      num_steps: steps of the run.

    Returns:
      The folder's path.

    Raises:
      UserError: the workdir cannot be written, or belongs to a run with another config or on other data, or to one that
        has taken more than `num_steps`.
    """
    workdir = resolve(workdir)
    disk_space.check_writable(workdir)
    new_config, facts = json.loads(config.to_json()), data_facts(dataset)
    # The run may be opened from another folder than the one that it was started in.
    new_config["imports"] = list(digests(config.get("imports", ())))
    starts = []
    steps = saved_steps(workdir / "checkpoints")
    # Without a checkpoint there is nothing to protect.
    if steps:
        content = json.loads((workdir / "versions.json").read_text())
        if PRUNED in content:
            raise UserError(
                f"--workdir={workdir} holds a pruned network, without the optimiser's state to go on from; give another one"
            )
        _check_same(workdir, new_config, facts)
        if max(steps) > num_steps:
            raise UserError(
                f"--workdir={workdir} is at step {max(steps)}, the config says {num_steps} in all; give at least as many"
            )
        starts = content["starts"]
    with report_write_errors():
        json_file.write(workdir / "config.json", new_config, indent=2)
        json_file.write(workdir / "versions.json", {"data": facts, "starts": starts}, indent=2)
    return workdir


def add_start(
    workdir: Path, start_step: int, *, init_from: dict, encoder_weights: str = "", imports: Sequence[str] = ()
) -> None:
    """Adds a start to `versions.json`: the step, and the `versions` that the steps from there on run with.

    Process 0 writes it. The starts of before stay.

    Args:
      workdir: the run's folder.
      start_step: the step that the run goes on from.
      init_from: workdir and step of the run that step 0 was taken from; {} for none.
      encoder_weights: the file of weights that step 0 was taken from, whose sha256 is noted; "" for none.
      imports: the files that the config imports, whose sha256 are noted.
    """
    if processes.process_index() != 0:
        return
    path = workdir / "versions.json"
    content = json.loads(path.read_text())
    origin: dict[str, Any] = {"init_from": init_from} if init_from else {}
    if encoder_weights:
        origin["encoder_weights_sha256"] = file_sha256(encoder_weights)
    if imports:
        origin["imports"] = digests(imports)
    content["starts"].append({"start_step": start_step, **origin, **versions()})
    with report_write_errors():
        json_file.write(path, content, indent=2)


def resolve(workdir) -> Path:
    """Returns the path of a run's folder, as `paths.resolve` does."""
    return paths.resolve(workdir, "--workdir")


def load_config(workdir, imports: Sequence[str] | None = None) -> ConfigDict:
    """Reads the config of the run in `workdir`, and runs the files that it imports.

    Prints a warning where such a file has changed since the run's last start.

    Args:
      workdir: the run's folder.
      imports: the files to run instead of the config's own.

    Raises:
      UserError: there is none, its keys or values are not those of this version, or a file that it imports is gone or fails.
    """
    path = resolve(workdir) / "config.json"
    if not path.exists():
        raise UserError(f"--workdir={workdir} has no config.json, so no run is there; train first with unet-jax train")
    config = ConfigDict({"imports": (), **json_file.tuples(json.loads(path.read_text()))})
    if imports is not None:
        config.imports = tuple(imports)
    _run_imports(path.parent, config.imports)
    try:
        read_sections(config)
    except UserError as error:
        raise UserError(f"--workdir={workdir}: its config.json is of another version ({error}); train anew") from error
    return config


def _run_imports(workdir: Path, files: Sequence[str]) -> None:
    """Runs the files that a run imports; prints a warning where they are not those of the run's last start."""
    if not files:
        return
    try:
        now = digests(files)
        run_files(files)
    except UserError as error:
        raise UserError(f"--workdir={workdir}: {error}") from error
    path = workdir / "versions.json"
    starts = json.loads(path.read_text())["starts"] if path.exists() else []
    before = starts[-1].get("imports", {}) if starts else {}
    if before and sorted(before.values()) != sorted(now.values()):
        print(
            f"warning: imports {', '.join(now)} changed since the last start of {workdir} (sha256 "
            f"{_first_digits(before)} there, {_first_digits(now)} now): results may differ from those of the run; restore "
            "the file to repeat them"
        )


def _first_digits(by_path: dict[str, str]) -> str:
    return ", ".join(digest[:12] for digest in by_path.values())


def load_facts(workdir) -> dict:
    """Reads the `data_facts` of the run in `workdir`; raises UserError if there are none."""
    path = resolve(workdir) / "versions.json"
    if not path.exists():
        raise UserError(f"--workdir={workdir} has no versions.json: its run was never started; train first")
    return json.loads(path.read_text())["data"]


def versions() -> dict:
    """Returns what the numbers of a run depend on: packages, git commit, devices, flags and settings of this process."""
    packages = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "python": platform.python_version(),
        "packages": packages,
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain")),
        "platform": platform.platform(),
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "process_count": jax.process_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "libtpu_init_args": os.environ.get("LIBTPU_INIT_ARGS", ""),
        "jax_config": {name: getattr(jax.config, name) for name in SETTINGS},
    }


def _check_same(workdir, new_config: dict, facts: dict) -> None:
    """Raises UserError if the run in `workdir` has another config or other data."""
    conflict = resume_conflict(
        load_config(workdir, imports=new_config["imports"]).to_dict(),
        json_file.tuples(new_config),
        FREE,
        num_examples=facts["splits"].get("train", 1),
    )
    if conflict:
        raise UserError(f"--workdir={workdir} holds {conflict}")
    before = load_facts(workdir)["fingerprint"]
    if before != facts["fingerprint"]:
        raise UserError(
            f"--workdir={workdir} holds a run on other data (fingerprint {before[:12]} there, "
            f"{facts['fingerprint'][:12]} now); restore the files, or give another --workdir"
        )


def _git(*arguments: str) -> str:
    root = Path(__file__).absolute().parents[2]
    # Without a checkout, as in an installed package, the version says what code it is.
    if not (root / ".git").exists():
        return ""
    try:
        result = subprocess.run(
            ["git", "-C", root, *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip()
