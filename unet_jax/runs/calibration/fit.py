"""The calibration of a run: fitted on val, kept in `WORKDIR/calibration.json`, and read again for `--calibrated`.

The file says for which network the temperature holds: checkpoint, mode, level, weights and views. Other choices predict other
probabilities, so the file is then refused.
"""

import os
from collections.abc import Mapping
from typing import Any

from etils.epath import Path

from unet_jax.evaluation.calibration_group import CalibrationGroup, TemperatureGroup
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.evaluation.group import Group
from unet_jax.runs.calibration import plate_intervals
from unet_jax.runs.calibration.temperature_file import NAME, network_of
from unet_jax.runs.load import Opened, open_models
from unet_jax.runs.score import open_dataset
from unet_jax.runs.workdir import resolve
from unet_jax.runtime import processes
from unet_jax.storage import json_file
from unet_jax.storage.write_errors import report_write_errors


def calibrate(
    workdir: str | os.PathLike, *, root: str = "", plate_classes: Mapping[str, str] | None = None, **chosen: Any
) -> dict[str, Any]:
    """Fits a temperature to the probabilities of a run on val, and intervals of overhangs where it has plates; writes and prints them.

    Args:
      workdir: the folder of the run.
      root: the folder of the data, where they have moved; "" for that of the config.
      plate_classes: the classes of the plates, as the arguments of `find_roles`; None as their names say.
      **chosen: checkpoint, mode, level, weights, views, force_views, memory and devices; see `load.load_predictor`.

    Returns:
      What was written: `temperature`, `num_images` of val, `ece`, `brier` and `nll` on val before, and the network; for examples with
      `plates`, also the factor of the intervals of overhangs, see `plate_intervals`.

    Raises:
      UserError: as `load.open_models` and `score.open_dataset`; as `factor_groups`; or there is no val split, or the file cannot be written.
    """
    folder = resolve(workdir)
    processes.check_same(
        {f"--{name}": value for name, value in {"root": root, **(plate_classes or {}), **chosen}.items()}
    )
    opened = open_models([folder], as_started=True, **chosen)
    source = open_dataset(opened.runs[0], folder, root).source("val")
    segmenter = opened.segmenter
    fit = TemperatureGroup(segmenter.activation, len(segmenter.class_names), len(source))
    of_plates = plate_intervals.factor_groups(source, segmenter.class_names, plate_classes or {})
    groups: list[Group] = [fit, CalibrationGroup(segmenter.activation), *of_plates]
    summary, _ = evaluate(segmenter, source, batch_size=opened.runs[0].config.eval.batch_size, groups=groups)
    content = {name: summary[name] for name in ("temperature", "num_images", "ece", "brier", "nll")}
    for group in of_plates:
        content |= plate_intervals.content_of(group, summary)
    content = json_file.plain({**content, "split": "val", **network_of(opened.runs[0], opened.views)})
    processes.on_process_0(lambda: _write(folder, content))
    _print(opened, content, folder)
    return content


def _write(folder: Path, content: dict[str, Any]) -> None:
    with report_write_errors():
        json_file.write(folder / NAME, content, indent=1)


def _print(opened: Opened, content: dict[str, Any], folder: Path) -> None:
    print(
        f"temperature {content['temperature']:.4f} of {opened.describe()}, from {content['num_images']} images of val; before: "
        f"ECE {content['ece']:.4f}, NLL {content['nll']:.4f}"
    )
    if plates := content.get(plate_intervals.KEY):
        print(
            f"intervals of overhangs: factor {plates['factor']:.3f}, from {plates['num_overhangs']} overhangs of val; `measure "
            "--plates` applies it"
        )
    print(f"written to {folder / NAME}; `--calibrated` of predict and eval applies it")
