"""The folder of a run, and its record in `config.json` and `versions.json` (read by records.py).

WORKDIR/config.json           every key of the config; a run resumes only with the same (resume.py)
WORKDIR/versions.json         data facts; packages, git commit, devices, settings of XLA and JAX of each start
WORKDIR/running.json          the process that trains in it now (hold.py)
WORKDIR/metrics.jsonl         one JSON object a line (tracking/metrics_file.py)
WORKDIR/curves.png            plot of metrics.jsonl
WORKDIR/tensorboard/          events, with train.tensorboard (tracking/tensorboard.py)
WORKDIR/profile/              traces, with --profile_steps (tracking/profiler.py)
WORKDIR/checkpoints/          Orbax (checkpoints/checkpointer.py)
WORKDIR/eval/                 scores, masks and pictures
WORKDIR/calibration.json      the temperature of the probabilities (calibration/)
WORKDIR/checkpoints_damaged/  checkpoints that a resumed run could not use (checkpoints/recover.py)

A run that is started again resumes from its latest whole checkpoint. A damaged checkpoint (a file missing or cut off, a bit
flipped) is moved to `checkpoints_damaged/`; the damaged leaf or file and the reason are printed. If no checkpoint is whole,
the run stops and moves nothing. A full disk stops a run too: the message gives the bytes needed, the bytes free, and the
checkpoint that the same command resumes from (checkpoints/disk_space.py).
"""

import contextlib
import enum
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
from unet_jax.checkpoints.finished import read_contents
from unet_jax.data.dataset import Dataset
from unet_jax.data.datasets import splits
from unet_jax.errors import UserError
from unet_jax.experiment.imports import ImportsError, digests
from unet_jax.experiment.sections import read_sections, with_later_keys
from unet_jax.runs import same_bits
from unet_jax.runs.records import REMEDY, read_config, read_versions
from unet_jax.runs.resume import resume_conflict
from unet_jax.runs.run_folder import NO_RUN
from unet_jax.runtime import processes, processor, user_file
from unet_jax.storage import json_file, paths
from unet_jax.storage.digests import file_sha256
from unet_jax.storage.write_errors import first_line, report_write_errors

# Keys that a resumed run may change. No result depends on them, except that `train.patience` decides where a run ends, and that
# the last digits of a score may depend on `eval.memory`; a note says so (same_bits.py).
# The data of `data.root`, `data.split_file` and `data.data_dir` may move; their fingerprint must stay the same. The files
# of `imports` may move; where their content has changed, a warning says so.
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
    "eval.memory",
    "eval.num_pictures",
    "checkpoint.every",
    "checkpoint.latest",
)
# The keys of the section "data" that hold paths. All are in `FREE`.
LOCAL_PATHS = ("root", "data_dir", "split_file", "cache_dir")
# Packages that results depend on. Those that are installed are recorded.
PACKAGES = (
    *same_bits.PACKAGES,
    "ml-collections",
    # They restore a checkpoint.
    "orbax-checkpoint",
    "tensorstore",
    # They decide the order of the examples.
    "tensorflow-datasets",
    "array-record",
    "grain",
    # They read pixels, and compute masks and weight maps.
    "numpy",
    "scipy",
    "scikit-image",
    "opencv-python-headless",
    "pillow",
    "simplejpeg",
    "tifffile",
    "imagecodecs",
    "zarr",
)
# Settings of JAX that results depend on.
SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_numpy_dtype_promotion",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_optimization_level",
)
# A key of versions.json, in the folder of a pruned network (analysis/prune/extract.py).
PRUNED = "pruned"


def data_facts(dataset: Dataset) -> dict[str, Any]:
    """Returns the properties of a data set that a trained network depends on, in the types of JSON."""
    return {
        "fingerprint": dataset.fingerprint,
        "class_names": list(dataset.class_names),
        "channels": dataset.channels,
        "dtype": dataset.dtype,
        "overlapping": dataset.overlapping,
        "palette": [list(colour) for colour in dataset.palette],
        "splits": dataset.splits,
    }


def open_workdir(workdir: str | os.PathLike, config: ConfigDict, dataset: Dataset, num_steps: int) -> Path:
    """Makes the workdir and writes `config.json` and `versions.json`, or checks those of the run that is in it.

    Args:
      workdir: the folder.
      config: the config of the run.
      dataset: the data set of the run.
      num_steps: steps of the run.

    Returns:
      The folder's path.

    Raises:
      UserError: the workdir cannot be written; or it belongs to a run with another config or on other data, or to one that
        has taken more than `num_steps`.
    """
    folder = resolve(workdir)
    disk_space.check_writable(folder)
    new_config, facts = json_file.plain(config.to_dict()), data_facts(dataset)
    # The run may be opened from another folder than the one that it was started in.
    new_config["imports"] = list(map(user_file.absolute, config.get("imports", ())))
    new_config["data"] = absolute_paths(new_config["data"])
    starts = []
    checkpoints = read_contents(folder / "checkpoints")
    steps = checkpoints.steps
    if checkpoints.parts and not steps:
        raise UserError(
            f"--workdir={folder}: checkpoints/ holds no finished checkpoint, but parts of one: {checkpoints.describe_others()}; "
            "restore one from a backup, move them away to start from the beginning, or give another --workdir"
        )
    # Without a checkpoint there is nothing to protect.
    if steps:
        content = _read_versions(folder)
        if PRUNED in content:
            raise UserError(
                f"--workdir={folder} holds a pruned network, which has no state of the optimiser to resume from; give another "
                "--workdir"
            )
        _check_same(folder, new_config, facts)
        if max(steps) > num_steps:
            raise UserError(
                f"--workdir={folder} is at step {max(steps)}, and the config's run has {num_steps} steps; make it longer, or "
                "give another --workdir"
            )
        starts = content["starts"]
    with report_write_errors():
        json_file.write(folder / "config.json", new_config, indent=2)
        json_file.write(folder / "versions.json", {"data": facts, "starts": starts}, indent=2)
    return folder


def absolute_paths(data: dict[str, Any]) -> dict[str, Any]:
    """Returns the section "data" of a config, with absolute paths for relative ones.

    The name of a split file that the package ships stays as it is: each installation finds it.

    Args:
      data: the section.
    """
    absolute = dict(data)
    for key in LOCAL_PATHS:
        given = data.get(key, "")
        if given and "://" not in given:
            path = paths.absolute(given)
            if key != "split_file" or (path.exists() and not splits.is_shipped(given)):
                absolute[key] = str(path)
    return absolute


def add_start(
    workdir: Path,
    start_step: int,
    *,
    memory: int,
    init_from: dict[str, Any],
    encoder_weights: str = "",
    imports: Sequence[str] = (),
) -> None:
    """Adds a start to `versions.json`: the step, and the `versions` that the steps after it run with.

    Process 0 writes it. The earlier starts stay in the file.

    Args:
      workdir: the run's folder.
      start_step: the number of steps done at the start.
      memory: the bytes that an evaluation may take.
      init_from: workdir and step of the run that gave the network of step 0; {} for none.
      encoder_weights: the file of weights that the encoder of step 0 was read from; its sha256 is recorded. "" for none.
      imports: the files that the config imports; their sha256 are recorded, and those of the modules of their
        folders.
    """
    if processes.process_index() != 0:
        return
    path = workdir / "versions.json"
    content = read_versions(workdir)
    origin: dict[str, Any] = {"init_from": init_from} if init_from else {}
    if encoder_weights:
        origin["encoder_weights_sha256"] = file_sha256(encoder_weights)
    if imports:
        origin["imports"] = digests(imports)
    content["starts"].append({"start_step": start_step, "memory": memory, **origin, **versions()})
    with report_write_errors():
        json_file.write(path, content, indent=2)


def resolve(workdir: str | os.PathLike) -> Path:
    """Returns the path of a run's folder, as `paths.resolve` does.

    Raises:
      UserError: as `paths.resolve`.
    """
    return paths.resolve(workdir, "--workdir")


def load_config(workdir: str | os.PathLike, imports: Sequence[str] | None = None) -> ConfigDict:
    """Reads the config of the run in `workdir`, and runs the files that it imports.

    Prints a warning where such a file has changed since the run's last start.

    Args:
      workdir: the run's folder.
      imports: the files to run instead of the config's own.

    Raises:
      UserError: there is no config, its keys or values are not those of this version, or a file that it imports is gone or
        fails.
    """
    path = resolve(workdir) / "config.json"
    if not path.exists():
        raise UserError(f"--workdir={workdir} {NO_RUN}")
    content = read_config(path.parent)
    try:
        config = ConfigDict(with_later_keys(json_file.tuples(content)))
        if imports is not None:
            config.imports = tuple(imports)
        read_sections(config)
    except ImportsError as error:
        raise UserError(f"--workdir={workdir}: {error}") from error
    except UserError as error:
        raise UserError(f"--workdir={workdir}: its config.json is of another version ({error}); train again") from error
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        # A value of another type, where no check of a section has looked first.
        raise UserError(f"{path} is damaged or of another version ({first_line(error)}); {REMEDY}") from error
    try:
        _warn_of_changes(path.parent, config.imports)
    except ImportsError as error:
        raise UserError(f"--workdir={workdir}: {error}") from error
    return config


def imported_digests(workdir: str | os.PathLike) -> list[dict[str, str]]:
    """Returns, for each start of a run, the sha256 of the files that it imports and of the modules of their folders."""
    folder = resolve(workdir)
    starts = read_versions(folder)["starts"] if (folder / "versions.json").exists() else []
    return [start.get("imports", {}) for start in starts]


def _warn_of_changes(workdir: Path, files: Sequence[str]) -> None:
    """Prints a warning where the files that a run imports are not those of the run's last start."""
    if not files:
        return
    now, starts = digests(files), imported_digests(workdir)
    before = starts[-1] if starts else {}
    # A path may change, so the digests are compared. A run of an earlier version has not recorded the modules.
    gone = {
        path: digest
        for path, digest in before.items()
        # `get_config` may have imported a module that opening a run does not need.
        if digest not in now.values() and not _is_file_of(path, digest)
    }
    new = {path: digest for path, digest in now.items() if digest not in before.values()}
    if gone:
        changed = new or now
        print(
            f"warning: imports {', '.join(changed)} changed since the last start of {workdir} (sha256 "
            f"{_first_digits(gone)} there, {_first_digits(changed)} now): results may differ from those of the run; restore "
            "the file to repeat them"
        )


def _is_file_of(path: str, digest: str) -> bool:
    try:
        return file_sha256(path) == digest
    except OSError:
        return False


def _first_digits(by_path: dict[str, str]) -> str:
    return ", ".join(digest[:12] for digest in by_path.values())


def recorded_memory(workdir: str | os.PathLike) -> int | str:
    """Returns the bytes that the evaluations of a run may take since its last start; "" where no start has recorded them."""
    starts = _read_versions(resolve(workdir))["starts"]
    return next((start["memory"] for start in reversed(starts) if start.get("memory")), "")


def load_facts(workdir: str | os.PathLike) -> dict[str, Any]:
    """Reads the `data_facts` of the run in `workdir`.

    Raises:
      UserError: there are none.
    """
    return _read_versions(resolve(workdir))["data"]


def _read_versions(workdir: Path) -> dict[str, Any]:
    try:
        return read_versions(workdir)
    except FileNotFoundError as error:
        raise UserError(
            f"--workdir={workdir} has no versions.json, which every run writes when it starts; restore the file, or train first"
        ) from error


def versions() -> dict[str, Any]:
    """Returns the packages, git commit, devices, processor, flags and settings of this process, in the types of JSON.

    The results depend on them. `same_bits.py` says which of them change bits.
    """
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
        "cpu": processor.describe(jax.local_device_count() if jax.default_backend() == "cpu" else 1),
        "jax_config": {name: _setting(name) for name in SETTINGS},
    }


def _setting(name: str) -> Any:
    # JAX has two kinds of settings, which are read in two ways.
    value = getattr(jax.config, name) if hasattr(jax.config, name) else jax.config.read(name)
    return value.value if isinstance(value, enum.Enum) else value


def _check_same(workdir: Path, new_config: dict, facts: dict) -> None:
    """Raises UserError if the run in `workdir` has another config or other data."""
    network = new_config["model"]["name"]
    if (workdir / "config.json").exists():
        section = read_config(workdir).get("model")
        network = section.get("name", network) if isinstance(section, dict) else network
    # Before its config is read: the files that add its network may be others than those of the new config.
    if network != new_config["model"]["name"]:
        raise UserError(
            f"--workdir={workdir} holds a run of another network: model.name {network!r} there, "
            f"{new_config['model']['name']!r} now; give another --workdir"
        )
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
    # An installed package has no checkout; its version is recorded.
    if not (root / ".git").exists():
        return ""
    try:
        result = subprocess.run(
            ["git", "-C", root, *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip()
