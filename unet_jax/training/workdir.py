"""The folder of a run: what it was (`config.json`, `versions.json`), and the trained network back out of it.

WORKDIR/config.json     every key of the config; a run resumes only with the same
WORKDIR/versions.json   packages, git commit, devices, XLA flags, and what the data were
WORKDIR/metrics.jsonl   one JSON object a line (writer.py); WORKDIR/curves.png shows it
WORKDIR/checkpoints/    Orbax (checkpoint.py)
WORKDIR/eval/           tables, masks and overlays
"""

import dataclasses
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import jax
from ml_collections import ConfigDict

from unet_jax import data
from unet_jax.errors import UserError
from unet_jax.evaluation import predict_folder, report
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.evaluation.folder import save_masks
from unet_jax.inference.predict import Predictor, select
from unet_jax.training import experiment
from unet_jax.training.checkpoint import Checkpointer

# Keys that a resumed run may change: no result depends on them.
FREE = ("data.cache_dir", "data.num_threads", "data.cache_bytes", "train.log_every")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run opened for use: its config, the step that was restored, and the network of that step."""

    config: ConfigDict
    facts: dict
    step: int
    predictor: Predictor


def load(workdir, *, checkpoint: str | int = "best", mode: str = "", level: int = 0, devices=None) -> Predictor:
    """The network of a run, ready to predict: `unet_jax.load(workdir).predict(array) -> masks, probabilities`.

    Args:
      workdir: of `run_train.py`; the run may be finished or still going on. Its data need not be there.
      checkpoint: "best", "latest" or a step.
      mode: "accurate" (mean over the heads), "fast" (one head), or "" for the config's `eval.mode`.
      level: U-Net++'s pruning level; only the parameters it needs are read. 0 is the network as trained.
      devices: to run on; all local ones by default, whatever the number trained on.

    Raises:
      UserError: no such run, checkpoint, mode or level, or the checkpoint is damaged.
    """
    return open_run(workdir, checkpoint=checkpoint, mode=mode, level=level, devices=devices).predictor


def open_run(workdir, *, checkpoint: str | int = "best", mode: str = "", level: int = 0, devices=None) -> Run:
    """Restores a run; arguments and errors as for `load`."""
    workdir = Path(workdir)
    config = load_config(workdir)
    facts = json.loads((workdir / "versions.json").read_text())["data"]
    module = experiment.create_module(config, facts["class_names"], facts["overlapping"])
    mode = mode or config.eval.mode
    images = jax.ShapeDtypeStruct((1, *config.data.patch, facts["channels"]), "float32")
    variables = jax.eval_shape(select(module, mode, level).init, jax.random.key(0), images)
    with Checkpointer(workdir / "checkpoints", read_only=True) as checkpointer:
        step = checkpointer.step_of(checkpoint)
        restored = checkpointer.restore(step, dict(variables))
    predictor = create_predictor(config, module, facts, restored, mode=mode, level=level, devices=devices)
    return Run(config, facts, step, predictor)


def score_run(
    workdir, *, split: str = "test", root: str = "", dataset: data.Dataset | None = None, devices=None, **chosen
) -> dict[str, float]:
    """Scores a run on a split: prints a table, writes the scores, every mask and some overlays under `WORKDIR/eval/`.

    What another checkpoint, mode or level than the run's own gives goes under a name of its own, `SPLIT-fast-level2`.

    Args:
      workdir: of the run.
      split: train, val or test; where there is no test split, val is taken in its place and it is said.
      root: the data set's folder, if it is not where the config says.
      dataset: the run's data set, if it is open already.
      devices: to run on.
      **chosen: checkpoint, mode and level as for `load`.

    Returns:
      The summary, by the names of `evaluation/metrics.py`.
    """
    workdir = Path(workdir)
    run = open_run(workdir, devices=devices, **chosen)
    if dataset is None:
        dataset = _open_dataset(run, workdir, root)
    if split == "test" and split not in dataset.splits and "val" in dataset.splits:
        print("there is no test split; scoring val instead")
        split = "val"
    source, predictor = dataset.source(split), run.predictor
    parts = [split, *[chosen[key] for key in ("checkpoint", "mode") if chosen.get(key, "best") not in ("best", "")]]
    name = "-".join(map(str, parts + [f"level{predictor.level}"] * bool(predictor.level)))
    batch_size, out = run.config.eval.batch_size, workdir / "eval"
    summary, rows = evaluate(predictor, source, batch_size=batch_size)
    about = {"split": split, "step": run.step, "mode": predictor.mode, "level": predictor.level}
    report.write_json(out / f"{name}.json", summary, rows, **about)
    save_masks(predictor, source, out / name, batch_size=batch_size)
    report.save_overlays(
        predictor,
        source,
        out / name / "overlays",
        limit=run.config.eval.num_pictures,
        batch_size=batch_size,
        palette=run.facts["palette"],
    )
    print(
        f"\n{split}, checkpoint of step {run.step}, {predictor.mode}"
        + f", level {predictor.level}" * bool(predictor.level)
    )
    print(report.table(summary, predictor.class_names, predictor.keep))
    print(f"\nscores       {out / name}.json")
    print(f"masks        {out / name}/ids (class ids), {out / name}/masks (0/255 by class)")
    print(f"overlays     {out / name}/overlays")
    print(f"curves       {workdir / 'curves.png'}")
    print(f"checkpoints  {workdir / 'checkpoints'}")
    return summary


def predict_images(workdir, images, out, *, overwrite: bool = False, devices=None, **chosen) -> dict:
    """Predicts a folder of images with a run's network and prints what was written; see `evaluation.predict_folder`."""
    run = open_run(workdir, devices=devices, **chosen)
    done = predict_folder(
        run.predictor,
        images,
        out,
        batch_size=run.config.eval.batch_size,
        overwrite=overwrite,
        palette=run.facts["palette"],
    )
    print(
        f"{done['num_images']} images with the checkpoint of step {run.step}, {done['images_per_s']:.1f} images/s, "
        f"{done['num_compiles']} compiled sizes; written to:"
    )
    for folder in done["folders"]:
        print(f"  {folder}")
    return done


def _open_dataset(run: Run, workdir: Path, root: str) -> data.Dataset:
    config = run.config.copy_and_resolve_references()
    if root:
        if "root" not in config.data:
            raise UserError(f"--root={root}: the run's data set, {config.data.name}, is not a folder")
        config.data.root = root
    dataset = experiment.create_dataset(config)
    if dataset.fingerprint != run.facts["fingerprint"]:
        print(f"note: the data are not those that {workdir} was trained on (their contents or options differ)")
    if list(dataset.class_names) != list(run.facts["class_names"]):
        raise UserError(
            f"the data's classes are {', '.join(dataset.class_names)}, those of {workdir} {', '.join(run.facts['class_names'])}"
        )
    return dataset


def create_predictor(
    config, module, facts: dict, variables, *, mode: str = "", level: int = 0, devices=None
) -> Predictor:
    """A Predictor that treats images as the config's training did; `facts` as in `data_facts`."""
    return Predictor(
        module=module,
        variables=variables,
        class_names=experiment.channel_names(module, facts["class_names"]),
        channels=facts["channels"],
        keep=tuple(config.eval.keep),
        normalize=config.data.normalize,
        mode=mode or config.eval.mode,
        level=level,
        bucket=config.eval.bucket,
        devices=devices,
    )


def data_facts(dataset: data.Dataset) -> dict:
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


def start(workdir, config: ConfigDict, dataset: data.Dataset) -> Path:
    """Makes the workdir and writes `config.json` and `versions.json`, or checks those of the run that it holds.

    Raises:
      UserError: the workdir cannot be written, or belongs to a run with another config or on other data.
    """
    workdir = Path(workdir).expanduser().absolute()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be made ({error.strerror}); give another one") from error
    if not os.access(workdir, os.W_OK):
        raise UserError(f"--workdir={workdir} is not writable; give another one")
    new, facts = json.loads(config.to_json()), data_facts(dataset)
    if (workdir / "config.json").exists():
        _check_same(workdir, new, facts)
    _write_json(workdir / "config.json", new)
    _write_json(workdir / "versions.json", {**versions(), "data": facts})
    return workdir


def load_config(workdir) -> ConfigDict:
    """The config of the run in `workdir`; UserError if there is none."""
    path = Path(workdir) / "config.json"
    if not path.exists():
        raise UserError(f"--workdir={workdir} has no config.json, so no run is there; train first with run_train.py")
    return ConfigDict(_tuples(json.loads(path.read_text())))


def versions() -> dict:
    """Packages, git commit, devices and XLA flags of this process."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "grain", "numpy")
    return {
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in packages},
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain")),
        "platform": platform.platform(),
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "process_count": jax.process_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _check_same(workdir, new, facts):
    old, new = _flat(load_config(workdir).to_dict()), _flat(_tuples(new))
    changes = [
        f"{key}: {old.get(key, 'absent')!r} there, {new.get(key, 'absent')!r} now"
        for key in sorted(old.keys() | new.keys())
        if key not in FREE and old.get(key, "absent") != new.get(key, "absent")
    ]
    if changes:
        raise UserError(
            f"--workdir={workdir} holds a run with another config ({'; '.join(changes)}); "
            "give the same config to resume it, or another --workdir"
        )
    path = workdir / "versions.json"
    before = json.loads(path.read_text())["data"]["fingerprint"] if path.exists() else facts["fingerprint"]
    if before != facts["fingerprint"]:
        raise UserError(
            f"--workdir={workdir} holds a run on other data (fingerprint {before[:12]} there, "
            f"{facts['fingerprint'][:12]} now); restore the files, or give another --workdir"
        )


def _flat(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _tuples(value):
    """JSON's lists back as the tuples that configs hold."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _write_json(path: Path, value: dict) -> None:
    working = path.with_suffix(".json.new")
    working.write_text(json.dumps(value, indent=2) + "\n")
    working.replace(path)  # in one move: a crash never leaves half a file


def _git(*arguments: str) -> str:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""  # installed as a package: the version stands in for the commit
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
