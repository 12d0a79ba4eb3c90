"""Masks of image files with a trained network, for `unet-jax predict` and `run_eval.py --images`."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from unet_jax.errors import UserError
from unet_jax.inference import record
from unet_jax.inference.folder import predict_folder
from unet_jax.inference.outputs import DEFAULT, UNCERTAINTY, Choice
from unet_jax.inference.uncertainty import ONE_MEMBER
from unet_jax.plotting import index_page
from unet_jax.runs.load import Opened, open_models
from unet_jax.runtime import processes
from unet_jax.storage.paths import expand


def predict_images(
    model: str | os.PathLike | Sequence[str | os.PathLike],
    images: str | os.PathLike | Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    save: Sequence[str] = DEFAULT.save,
    mask_format: str = DEFAULT.mask_format,
    probability_format: str = DEFAULT.probability_format,
    overwrite: bool = False,
    recursive: bool = False,
    shard: tuple[int, int] = (1, 1),
    flag: str = "--model",
    devices: Sequence[jax.Device] | None = None,
    **chosen: Any,
) -> dict[str, Any]:
    """Predicts image files with a trained network, or with several together, and prints what was written.

    Args:
      model: the folder of a run, or the name of a shipped network, or a list of them; see `load.load_predictor`.
      images: a folder of images, or a list of image files, folders and patterns.
      out: the folder of the results; see `predict_folder` for what lies there.
      save: what is written; see `outputs.Choice`.
      mask_format: see `outputs.Choice`.
      probability_format: see `outputs.Choice`.
      overwrite: replaces results that are there; see `predict_folder`.
      recursive: takes the images of subfolders, too.
      shard: (i, n) predicts the i-th of n parts; see `predict_folder`.
      flag: the name of `model` in messages.
      devices: to run on; all local ones by default.
      **chosen: checkpoint, mode, level, weights, views, force_views and memory; see `load.load_predictor`. By default, the
        memory is that of the prediction that is in `out`.

    Returns:
      The result of `predict_folder`.

    Raises:
      UserError: several processes share the job, or as `load.open_models` and `predict_folder`.
    """
    choice = Choice(tuple(save), mask_format, probability_format)
    opened, about = open_for_folder(model, images, out, overwrite=overwrite, flag=flag, devices=devices, **chosen)
    run = opened.runs[0]
    if UNCERTAINTY in choice.save and opened.segmenter.num_members == 1:
        print(f"note: {ONE_MEMBER}")
    result = predict_folder(
        opened.segmenter,
        images,
        out,
        batch_size=run.config.eval.batch_size,
        palette=run.facts["palette"],
        about=about,
        choice=choice,
        overwrite=overwrite,
        recursive=recursive,
        shard=shard,
        how=opened.reading,
        show_progress=True,
    )
    print_result(result, opened.describe())
    page = expand(out, "--out") / index_page.NAME
    if page.exists():
        print(f"{page} shows the overlays")
    return result


def open_for_folder(
    model: str | os.PathLike | Sequence[str | os.PathLike],
    images: str | os.PathLike | Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    overwrite: bool,
    flag: str = "--model",
    devices: Sequence[jax.Device] | None = None,
    **chosen: Any,
) -> tuple[Opened, dict[str, Any]]:
    """Opens the networks that predict image files into a folder; the arguments are those of `predict_images`.

    Returns:
      The networks, and what of their checkpoints decides the results, JSON-able.

    Raises:
      UserError: several processes share the job, or as `load.open_models`.
    """
    if processes.process_count() > 1:
        raise UserError(
            f"images {images}: one process predicts them; start one process alone, with --nomultiprocess, or give each "
            "process its part of the images, with --nomultiprocess --shard=I/N"
        )
    if not chosen.get("memory") and not overwrite:
        # A prediction that was interrupted on another machine goes on as it began.
        chosen["memory"] = record.memory_of(expand(out, "--out"))
    models = [model] if isinstance(model, str | os.PathLike) else list(model)
    opened = open_models(models, flag=flag, devices=devices, **chosen)
    checkpoints = [
        {"step": each.step, "weights": each.weights, "checkpoint_sha256": each.checkpoint_sha256}
        for each in opened.runs
    ]
    return opened, {"checkpoints": checkpoints} if len(checkpoints) > 1 else checkpoints[0]


def print_result(result: Mapping[str, Any], network: str) -> None:
    """Prints what `inference.folder.predict_job` has done with a network."""
    if result["num_images"] or not result["num_finished"]:
        noun = "image" if result["num_images"] == 1 else "images"
        speed = f"{result['images_per_s']:.{1 if result['images_per_s'] >= 1 else 3}f} images/s"
        print(
            f"{result['num_images']} {noun} with {network}, {speed}, sizes compiled: {result['num_compiles']}; written to:"
        )
        for path in result["folders"]:
            print(f"  {path}")
    if result["num_approximate"]:
        noun = "image" if result["num_approximate"] == 1 else "images"
        print(f"approximate, in blended tiles: {result['num_approximate']} {noun}")
    if result["num_finished"]:
        print(f"images whose results were there already: {result['num_finished']}")
    if result["num_there"] < result["num_all"]:
        print(f"finished so far, with all parts: {result['num_there']} of {result['num_all']} images")
