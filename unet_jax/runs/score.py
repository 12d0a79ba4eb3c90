"""Scores a trained run on a split, for `unet-jax eval`."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
from etils.epath import Path
from ml_collections import ConfigDict

from unet_jax.data.dataset import Dataset
from unet_jax.data.normalization import check_depth
from unet_jax.data.store.cache import forget_digests
from unet_jax.errors import UserError
from unet_jax.evaluation import report
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.experiment.build import create_dataset
from unet_jax.inference.outputs import MaskFolder, file_name
from unet_jax.runs import shared_workdir
from unet_jax.runs.hold import note_running
from unet_jax.runs.load import Run, open_model
from unet_jax.runs.workdir import resolve
from unet_jax.runtime import processes


def score_run(
    workdir: str | os.PathLike,
    *,
    split: str = "",
    root: str = "",
    fresh_data: bool = False,
    dataset: Dataset | None = None,
    devices: Sequence[jax.Device] | None = None,
    **chosen: Any,
) -> dict[str, float]:
    """Scores a run on a split, prints a table, and writes scores, masks and pictures under `WORKDIR/eval/`.

    Each image is predicted once; the pictures show the masks that were scored. The results have the name of the split.
    Choices that differ from the run's config are added to it, e.g. `SPLIT-latest-fast-level2`.

    Args:
      workdir: the folder of the run.
      split: train, val or test; "" for test, or for val where there is no test split.
      root: the folder of the data, where they have moved; "" for that of the config.
      fresh_data: True: reads the data files in full, also those that look unchanged.
      dataset: the data set of the run, where it is open already.
      devices: the devices to run on; all local ones by default.
      **chosen: checkpoint, mode, level and weights, as in `load_predictor`.

    Returns:
      The summary, by the names of `evaluation/metrics.py`.

    Raises:
      UserError: as `load.open_model` and `open_dataset`; or the processes of the job have opened different checkpoints.
    """
    folder = resolve(workdir)
    # Also waits until every process has closed the run's checkpoints.
    processes.check_same({f"--{name}": value for name, value in {"split": split, "root": root, **chosen}.items()})
    run = open_model(folder, devices=devices, **chosen)
    note_running(folder)
    shared_workdir.check_same_step(run.step, folder)
    if dataset is None:
        if fresh_data:
            forget_digests(run.config.data.cache_dir)
        dataset = open_dataset(run, folder, root)
    if not split:
        split = "test" if "test" in dataset.splits else "val"
        if split == "val":
            print("there is no test split; scoring val instead")
    out, name = folder / "eval", _result_name(run, split, chosen)
    summary = write_scores(run, dataset, split, out, name)
    _print_scores(run, summary, split, folder, out / name)
    return summary


def _result_name(run: Run, split: str, chosen: dict) -> str:
    """Returns the name of the results: the split, then the choices that differ from the run's config."""
    defaults = {"checkpoint": "best", "mode": run.config.eval.mode, "weights": run.config.eval.weights}
    parts = [split]
    for key, default in defaults.items():
        if chosen.get(key, "") not in ("", default):
            parts.append(str(chosen[key]))
    if run.predictor.level:
        parts.append(f"level{run.predictor.level}")
    return "-".join(parts)


def _print_scores(run: Run, summary: dict, split: str, workdir: Path, results: Path) -> None:
    predictor = run.predictor
    title = f"{split}, checkpoint of step {run.step}, {predictor.mode}"
    if predictor.level:
        title += f", level {predictor.level}"
    print(f"\n{title}")
    print(report.table(summary, predictor.class_names, predictor.report_classes))
    print(f"\nscores       {results}.json")
    print(f"masks        {results}/ids (class ids), {results}/masks (0/255 by class)")
    print(f"overlays     {results}/overlays; {results}/index.html shows them, the lowest IoU first")
    if (workdir / "curves.png").exists():
        print(f"curves       {workdir / 'curves.png'}")
    print(f"checkpoints  {workdir / 'checkpoints'}")


def write_scores(
    run: Run,
    dataset: Dataset,
    split: str,
    out: Path,
    name: str,
    progress: Callable[[int], None] = lambda num_images: None,
) -> dict[str, float]:
    """Scores a split; writes OUT/NAME.json, and masks and pictures into OUT/NAME.

    Replaces earlier files of these names. Masks and pictures of images that are no longer in the split are removed.

    Args:
      run: an opened run.
      dataset: the data set of the run.
      split: train, val or test.
      out: the folder of the results.
      name: the name of the results.
      progress: is called with the number of images after each batch.

    Returns:
      The summary.
    """
    source, predictor = dataset.source(split), run.predictor
    masks = MaskFolder(predictor, out / name, palette=run.facts["palette"])
    summary, rows = evaluate(
        predictor,
        source,
        batch_size=run.config.eval.batch_size,
        on_image=lambda id_, *predicted: masks.write(file_name(id_), *predicted),
        progress=progress,
    )
    about: dict[str, Any] = {"split": split, "step": run.step, "mode": predictor.mode, "level": predictor.level}
    if run.config.optim.ema_decay:
        about["weights"] = run.weights
    about |= {"checkpoint_sha256": run.checkpoint_sha256, "fingerprint": dataset.fingerprint}

    def write() -> None:
        report.write_json(out / f"{name}.json", summary, rows, **about)
        masks.remove_others({file_name(row["id"]) for row in rows})
        report.save_pictures(masks, source, rows, out / name, limit=run.config.eval.num_pictures)

    # `evaluate` sums over all processes, so every process has written its masks by now.
    processes.on_process_0(write)
    return summary


def open_dataset(run: Run, workdir: Path, root: str = "") -> Dataset:
    """Opens the run's data set. Prints a note if the data have changed.

    Args:
      run: an opened run.
      workdir: its folder, for messages.
      root: the folder of the data, where they have moved; "" for that of the config.

    Raises:
      UserError: the data's classes are not those of the network, or its images have another depth; or as `config_with_root` and `create_dataset`.
    """
    config = config_with_root(run, root)
    # Only training reads the weight map, so none is prepared.
    config.data.weight_map = False
    dataset = create_dataset(config)
    if dataset.fingerprint != run.facts["fingerprint"] and not root:
        print(f"note: {workdir} was trained on other data (their contents or options differ)")
    if list(dataset.class_names) != list(run.facts["class_names"]):
        raise UserError(
            f"the data's classes are {', '.join(dataset.class_names)}, and those of {workdir} are "
            f"{', '.join(run.facts['class_names'])}; give data with the same classes"
        )
    # A run of an earlier version may not have recorded the type.
    trained = run.facts.get("dtype", "")
    check_depth(f"the data set {root or dataset.name}", dataset.dtype, trained, config.data.normalize)
    return dataset


def config_with_root(run: Run, root: str) -> ConfigDict:
    """Returns a copy of the run's config, with another folder of the data.

    Args:
      run: an opened run.
      root: the folder of the data; "" for that of the config.

    Raises:
      UserError: a folder is given, and the data set is not read from one.
    """
    config = run.config.copy_and_resolve_references()
    if root:
        key = next((key for key in ("root", "data_dir") if key in config.data), "")
        if not key:
            raise UserError(f"--root={root}: the run's data set, {config.data.name}, has no folder; leave --root out")
        config.data[key] = root
        if "class_names" in config.data:
            # The masks in this folder may lack the highest class id.
            config.data.class_names = tuple(run.facts["class_names"])
    return config
