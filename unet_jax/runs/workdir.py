"""The folder of a run, and what the run was: `config.json` and `versions.json`.

WORKDIR/config.json     every key of the config; a run resumes only with the same (resume.py)
WORKDIR/versions.json   packages, git commit, devices, flags and settings of XLA and JAX, and what the data were
WORKDIR/metrics.jsonl   one JSON object a line (writer.py); WORKDIR/curves.png shows it
WORKDIR/tensorboard/    events (board.py), of a run with train.tensorboard; WORKDIR/profile/ traces (profile.py)
WORKDIR/checkpoints/    Orbax (checkpoint.py)
WORKDIR/eval/           tables, masks and overlays
WORKDIR/checkpoints_damaged/  what a resumed run could not use (recover.py)

A run that is started again goes on from its latest checkpoint that is whole. One that is damaged (a file missing or cut
off, a bit flipped) is named, with its leaf or file and the reason, and moved to `checkpoints_damaged/`; where none is
whole the run stops, moves nothing, and does not start anew. A full disk stops a run as well: the message says how much
the checkpoint needs, what is free, and which checkpoint the same command goes on from (disk.py).
"""

import contextlib
import json
import os
import platform
import subprocess
from importlib import metadata

import jax
from etils.epath import Path
from ml_collections import ConfigDict

from unet_jax.checkpoints import disk_space
from unet_jax.checkpoints.checkpointer import saved_steps
from unet_jax.data.dataset import Dataset
from unet_jax.errors import UserError
from unet_jax.models.encoders.weights import digest
from unet_jax.runs.resume import resume_conflict
from unet_jax.runtime import parallel
from unet_jax.storage import json_file, paths
from unet_jax.storage.write_errors import report_write_errors

# Keys that a resumed run may change: no result depends on them, patience aside, which only says where the run ends.
FREE = (
    *(
        "data.root",
        "data.split_file",
        "data.data_dir",
        "data.cache_dir",
        "data.num_threads",
        "data.cache_bytes",
        "train.log_every",
        "train.patience",
        "train.tensorboard",
    ),  # the first three: see fingerprint
    *("eval.batch_size", "eval.num_pictures", "checkpoint.every", "checkpoint.latest"),
)
PACKAGES = (  # that results depend on; not all are on every machine
    "unet-jax",
    *("jax", "jaxlib", "flax", "optax", "ml-dtypes", "ml-collections"),
    *("libtpu", "jax-cuda13-plugin", "nvidia-cudnn-cu13", "nvidia-cublas"),  # what devices compute with
    *("jax-cuda12-plugin", "nvidia-cudnn-cu12", "nvidia-cublas-cu12"),
    *("orbax-checkpoint", "tensorstore"),  # what is restored
    *("tensorflow-datasets", "array-record", "grain"),  # which example comes when
    *("numpy", "scipy", "scikit-image", "opencv-python-headless", "pillow"),  # what its pixels, masks and weights are
)
SETTINGS = (  # of JAX
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
)
PRUNED = "pruned"  # in versions.json: the folder holds a level cut out of a run (analysis/prune/extract.py)


def data_facts(dataset: Dataset) -> dict:
    """What of a data set a trained network depends on, as JSON holds it."""
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
    """Makes the workdir and writes `config.json` and `versions.json`, or checks those of the run that it holds.

    Raises:
      UserError: the workdir cannot be written, or belongs to a run with another config or on other data, or to one that
        has taken more than `num_steps`.
    """
    workdir = resolve(workdir)
    disk_space.check_writable(workdir)
    new, facts = json.loads(config.to_json()), data_facts(dataset)
    starts = []
    done = saved_steps(workdir / "checkpoints")
    if done:  # a run that took no step leaves nothing to protect
        content = json.loads((workdir / "versions.json").read_text())
        if PRUNED in content:
            raise UserError(
                f"--workdir={workdir} holds a pruned network, without the optimiser's state to go on from; give another one"
            )
        _check_same(workdir, new, facts)
        if max(done) > num_steps:
            raise UserError(
                f"--workdir={workdir} is at step {max(done)}, the config says {num_steps} in all; give at least as many"
            )
        starts = content["starts"]
    with report_write_errors():
        json_file.write(workdir / "config.json", new, indent=2)
        json_file.write(workdir / "versions.json", {"data": facts, "starts": starts}, indent=2)
    return workdir


def add_start(workdir: Path, start_step: int, *, init_from: dict, encoder_weights: str = "") -> None:
    """Notes in `versions.json` what the steps from `start_step` on run on; what ran the earlier ones stays there.

    Of what step 0 came from, if not from initialisation alone: another run and its step ({} for none), and the sha256 of
    a file of weights. Process 0 notes it.
    """
    if parallel.process_index():
        return
    path = workdir / "versions.json"
    content = json.loads(path.read_text())
    origin = {"init_from": init_from} if init_from else {}
    if encoder_weights:
        origin["encoder_weights_sha256"] = digest(encoder_weights)
    content["starts"].append({"start_step": start_step, **origin, **versions()})
    with report_write_errors():
        json_file.write(path, content, indent=2)


def resolve(workdir) -> Path:
    """The folder of a run, as of `paths.resolve`."""
    return paths.resolve(workdir, "--workdir")


def load_config(workdir) -> ConfigDict:
    """The config of the run in `workdir`; UserError if there is none."""
    path = resolve(workdir) / "config.json"
    if not path.exists():
        raise UserError(f"--workdir={workdir} has no config.json, so no run is there; train first with run_train.py")
    return ConfigDict(_tuples(json.loads(path.read_text())))


def load_facts(workdir) -> dict:
    """What the run in `workdir` was trained on, as of `data_facts`."""
    path = resolve(workdir) / "versions.json"
    if not path.exists():
        raise UserError(f"--workdir={workdir} has no versions.json: its run was never started; train first")
    return json.loads(path.read_text())["data"]


def versions() -> dict:
    """Packages, git commit, devices, flags and settings of this process, on which the numbers of a run depend."""
    there = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            there[name] = metadata.version(name)
    return {
        "python": platform.python_version(),
        "packages": there,
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


def _check_same(workdir, new, facts):
    why = resume_conflict(load_config(workdir).to_dict(), _tuples(new), FREE)
    if why:
        raise UserError(f"--workdir={workdir} holds {why}")
    before = load_facts(workdir)["fingerprint"]
    if before != facts["fingerprint"]:
        raise UserError(
            f"--workdir={workdir} holds a run on other data (fingerprint {before[:12]} there, "
            f"{facts['fingerprint'][:12]} now); restore the files, or give another --workdir"
        )


def _tuples(value):
    """JSON's lists back as the tuples that configs hold."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _git(*arguments: str) -> str:
    root = Path(__file__).absolute().parents[2]
    if not (root / ".git").exists():
        return ""  # installed as a package: the version stands in for the commit
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
