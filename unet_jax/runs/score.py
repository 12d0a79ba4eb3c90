"""Scores a trained run on a split, or several that predict together, for `unet-jax eval`."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils.epath import Path
from ml_collections import ConfigDict

from unet_jax.data.dataset import Dataset, ExampleSource
from unet_jax.data.normalization import check_depth
from unet_jax.data.store.cache import forget_digests
from unet_jax.errors import UserError
from unet_jax.evaluation import failures, report
from unet_jax.evaluation.choice import MetricChoice
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.evaluation.groups import complete, create_groups
from unet_jax.experiment.build import create_dataset
from unet_jax.inference import uncertainty_files
from unet_jax.inference.outputs import IDS, MASKS, UNCERTAINTY, Choice, MaskFolder, file_name
from unet_jax.inference.uncertainty import ONE_MEMBER, Uncertainty
from unet_jax.measurement.plates.group import PREFIX, PlateGroup, most_plates
from unet_jax.measurement.plates.roles import find_roles
from unet_jax.measurement.plates.text import format_scores
from unet_jax.plotting.reliability import save_reliability
from unet_jax.runs import shared_workdir
from unet_jax.runs.calibration.plate_intervals import read_factor
from unet_jax.runs.hold import note_running
from unet_jax.runs.load import Opened, Run, open_models
from unet_jax.runs.workdir import resolve
from unet_jax.runtime import processes
from unet_jax.storage.paths import expand
from unet_jax.storage.write_errors import report_write_errors

DEFAULT_METRICS = MetricChoice()
# A picture, beside the masks.
RELIABILITY = "reliability.png"


def score_run(
    workdir: str | os.PathLike | Sequence[str | os.PathLike],
    *,
    split: str = "",
    root: str = "",
    fresh_data: bool = False,
    uncertainty: bool = False,
    metrics: MetricChoice = DEFAULT_METRICS,
    out: str | os.PathLike | None = None,
    overwrite: bool = False,
    dataset: Dataset | None = None,
    devices: Sequence[jax.Device] | None = None,
    **chosen: Any,
) -> dict[str, float]:
    """Scores a run, or several that predict together; prints a table, and writes scores, masks and pictures.

    They are written under `WORKDIR/eval/`, or under `out` for several runs, because no single run owns them. Each image is
    predicted once; the pictures show the masks that were scored. The results have the name of the split. Choices that differ
    from the config of the first run are added to it, e.g. `SPLIT-latest-fast-level2-flips`.

    Args:
      workdir: the folder of the run, or a list of folders.
      split: train, val or test; "" for test, or for val where there is no test split.
      root: the folder of the data, where they have moved; "" for that of the config.
      fresh_data: True: reads the data files in full, also those that look unchanged.
      uncertainty: True also writes the uncertainty of each image, and how well it predicts the score; see
        `evaluation.failures`.
      metrics: what is scored.
      out: the folder of the scores of several runs.
      overwrite: replaces scores of several runs that are in `out`.
      dataset: the data set of the first run, where it is open already.
      devices: the devices to run on; all local ones by default.
      **chosen: checkpoint, mode, level, weights, views, force_views, calibrated and memory, as in `load_predictor`. By default the memory is
        that of the run's own evaluations.

    Returns:
      The summary, by the names of `evaluation/metrics.py`.

    Raises:
      UserError: as `load.open_models` and `open_dataset`; the processes of the job have opened different checkpoints; `out` is
        missing for several runs, or is a file or a run; or it holds such scores and `overwrite` is False.
    """
    folders = [resolve(path) for path in ([workdir] if isinstance(workdir, str | os.PathLike) else workdir)]
    results = _results_folder(folders, out)
    # Also waits until every process has closed the run's checkpoints.
    choices = {"split": split, "root": root, "uncertainty": uncertainty, **chosen}
    choices |= {"metrics": list(metrics.names), "tolerance": metrics.tolerance, "pixel_size": list(metrics.pixel_size)}
    choices |= metrics.plate_classes
    processes.check_same({f"--{name}": value for name, value in choices.items()})
    opened = open_models(folders, as_started=True, devices=devices, **chosen)
    for folder, run in zip(folders, opened.runs, strict=True):
        note_running(folder)
        shared_workdir.check_same_step(run.step, folder)
    if uncertainty and opened.segmenter.num_members == 1:
        print(f"note: {ONE_MEMBER}")
    if dataset is None:
        if fresh_data:
            forget_digests(opened.runs[0].config.data.cache_dir)
        dataset = open_dataset(opened.runs[0], folders[0], root)
    if not split:
        split = "test" if "test" in dataset.splits else "val"
        if split == "val":
            print("there is no test split; scoring val instead")
    _note_other_data(opened.runs, folders, split)
    name = _result_name(opened, split, chosen, uncertainty)
    if len(folders) > 1 and not overwrite and (results / f"{name}.json").exists():
        raise UserError(f"{results / name}.json exists; write to another folder, or pass --overwrite to replace it")
    summary, about = write_scores(opened, dataset, split, results, name, uncertainty=uncertainty, metrics=metrics)
    metrics = dataclasses.replace(metrics, names=tuple(about["metrics"]))
    _print_scores(opened, summary, about, results / name, metrics)
    if len(folders) == 1:
        if (folders[0] / "curves.png").exists():
            print(f"curves       {folders[0] / 'curves.png'}")
        print(f"checkpoints  {folders[0] / 'checkpoints'}")
    return summary


def _results_folder(folders: Sequence[Path], out: str | os.PathLike | None) -> Path:
    """Returns the folder of the results; raises UserError if `out` is missing, or is a file or a run."""
    if len(folders) == 1 and out is None:
        return folders[0] / "eval"
    if out is None:
        raise UserError(f"--out is missing: the folder for the scores of {len(folders)} runs, which no single run owns")
    folder = expand(out, "--out")
    if folder.is_file():
        raise UserError(f"--out={folder} is a file; give a folder")
    if (folder / "config.json").exists():
        raise UserError(f"--out={folder} is the folder of a run: it holds config.json; give another folder")
    return folder


def _note_other_data(runs: Sequence[Run], folders: Sequence[Path], split: str) -> None:
    """Prints a note for each run whose data or split differ from those of the first, which are scored."""
    for run, folder in zip(runs[1:], folders[1:], strict=True):
        if run.facts["fingerprint"] != runs[0].facts["fingerprint"] and split != "train":
            print(
                f"note: {folder} was trained on other data or another split than {folders[0]}, whose {split} is scored; an "
                "image of it may have trained the other network, and the score would be too high"
            )


def _result_name(opened: Opened, split: str, chosen: Mapping[str, Any], uncertainty: bool) -> str:
    """Returns the name of the results: the split, then the choices that differ from the config of the first run."""
    run = opened.runs[0]
    defaults = {"checkpoint": "best", "mode": run.config.eval.mode, "weights": run.config.eval.weights}
    parts = [split]
    for key, default in defaults.items():
        if chosen.get(key, "") not in ("", default):
            parts.append(str(chosen[key]))
    if run.predictor.level:
        parts.append(f"level{run.predictor.level}")
    if opened.views:
        parts.append(opened.views)
    if chosen.get("calibrated"):
        parts.append("calibrated")
    if uncertainty:
        parts.append("uncertainty")
    return "-".join(parts)


def _print_scores(
    opened: Opened, summary: dict, about: Mapping[str, Any], results: Path, metrics: MetricChoice
) -> None:
    predictor = opened.runs[0].predictor
    title = f"{about['split']}, {opened.describe().removeprefix('the ')}, {predictor.mode}"
    if predictor.level:
        title += f", level {predictor.level}"
    if any(part["approximate"] for part in about.get("parts", ())):
        title += ", approximate"
    print(f"\n{title}")
    print(report.table(summary, predictor.class_names, predictor.report_classes))
    for text in report.group_tables(summary, predictor.class_names, metrics):
        print(f"\n{text}")
    if "plates" in metrics.names:
        print(f"\n{format_scores(summary, PREFIX)}")
    if "uncertainty" in about:
        print(f"\n{failures.format_failures(about['uncertainty'])}")
    print(f"\nscores       {results}.json, {results}.csv (a row for each image)")
    print(f"masks        {results}/ids (class ids), {results}/masks (0/255 by class)")
    print(f"overlays     {results}/overlays; {results}/index.html shows them, the lowest IoU first")
    if "calibration" in metrics.names:
        print(f"reliability  {results / RELIABILITY}")
    if "uncertainty" in about:
        print(
            f"uncertainty  {results}/uncertainty (16-bit maps), {results}/uncertainty.csv has the least certain first"
        )


def write_scores(
    opened: Opened,
    dataset: Dataset,
    split: str,
    out: Path,
    name: str,
    *,
    uncertainty: bool = False,
    metrics: MetricChoice = DEFAULT_METRICS,
    progress: Callable[[int], None] = lambda num_images: None,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Scores a split; writes OUT/NAME.json, OUT/NAME.csv, and masks and pictures into OUT/NAME.

    Replaces earlier files of these names. Masks and pictures of images that are no longer in the split are removed.

    Args:
      opened: the opened run, or several.
      dataset: the data set of the run.
      split: train, val or test.
      out: the folder of the results.
      name: the name of the results.
      uncertainty: True also writes the uncertainty of each image.
      metrics: what is scored.
      progress: is called with the number of images after each batch.

    Returns:
      The summary, and what else the file says of it: split, checkpoint step, mode, ...
    """
    source, run = dataset.source(split), opened.runs[0]
    metrics = complete(metrics, source)
    about: dict[str, Any] = {"split": split, **metrics.about()}
    groups = create_groups(metrics, opened.segmenter, run.border_width)
    if "plates" in metrics.names:
        of_plates = _plate_group(opened, source, metrics.plate_classes)
        about["plate_classes"] = dataclasses.asdict(of_plates.roles)
        groups.append(of_plates)
    choice = Choice((IDS, MASKS, UNCERTAINTY) if uncertainty else (IDS, MASKS), mask_format="png")
    masks = MaskFolder(opened.segmenter, out / name, choice=choice, palette=run.facts["palette"])
    # Of the image that is scored next.
    uncertain: dict[str, Uncertainty] = {}

    def write_image(id_: str, scored: np.ndarray, ids: np.ndarray) -> None:
        found = uncertain.pop(id_, None)
        probabilities, measures = (found.probabilities, found.measures()) if found else (None, None)
        masks.write(file_name(id_), scored, ids, probabilities=probabilities, measures=measures)

    summary, rows = evaluate(
        opened.segmenter,
        source,
        batch_size=run.config.eval.batch_size,
        on_image=write_image,
        on_uncertainty=uncertain.__setitem__ if uncertainty else None,
        groups=groups,
        progress=progress,
    )
    if len(opened.runs) == 1:
        about |= _about(run)
    else:
        about["networks"] = [
            {"workdir": model, **_about(each)} for model, each in zip(opened.models, opened.runs, strict=True)
        ]
    if opened.views:
        about["views"] = opened.views
    # Of all processes, each of which has predicted its images.
    parts = [part for of_process in processes.gather(opened.segmenter.parts) for part in of_process]
    if parts := [part for number, part in enumerate(parts) if part not in parts[:number]]:
        about["parts"] = parts
    about["fingerprint"] = dataset.fingerprint
    if uncertainty:
        about["uncertainty"] = failures.describe_failures(rows)

    def write() -> None:
        report.write_json(out / f"{name}.json", summary, rows, **about)
        report.write_csv(out / f"{name}.csv", rows)
        names = {file_name(row["id"]) for row in rows}
        masks.remove_others(names)
        report.save_pictures(masks, source, rows, out / name, limit=run.config.eval.num_pictures)
        with report_write_errors():
            (out / name / RELIABILITY).unlink(missing_ok=True)
            if "calibration" in metrics.names:
                save_reliability(
                    out / name / RELIABILITY, **summary["reliability"], title=f"{name}, ECE {summary['ece']:.4f}"
                )
        if uncertainty:
            uncertainty_files.write_table(out / name, names)

    # `evaluate` sums over all processes, so every process has written its masks by now.
    processes.on_process_0(write)
    return summary, about


def _plate_group(opened: Opened, source: ExampleSource, classes: Mapping[str, str]) -> PlateGroup:
    """Returns the group that scores plates; raises UserError if the examples or the classes have none."""
    names = opened.segmenter.class_names
    roles = find_roles(names, **classes)
    return PlateGroup(roles, names, most_plates(source, roles, names), read_factor(opened, roles))


def _about(run: Run) -> dict[str, Any]:
    """Returns which network of a run was scored."""
    about: dict[str, Any] = {"step": run.step, "mode": run.predictor.mode, "level": run.predictor.level}
    about["memory"] = run.predictor.budget
    if run.config.optim.ema_decay:
        about["weights"] = run.weights
    return about | {"checkpoint_sha256": run.checkpoint_sha256}


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
    check_depth(
        f"the data set {root or dataset.name}", dataset.dtype, trained, config.data.normalize, config.data.range
    )
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
