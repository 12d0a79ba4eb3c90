"""Masks of image files with a trained network, for `unet-jax predict` and `run_eval.py --images`."""

import os
from collections.abc import Sequence
from typing import Any

import jax

from unet_jax.errors import UserError
from unet_jax.inference.folder import predict_folder
from unet_jax.inference.outputs import DEFAULT, Choice
from unet_jax.plotting import index_page
from unet_jax.runs.load import open_model
from unet_jax.runtime import processes
from unet_jax.storage.paths import expand


def predict_images(
    model: str | os.PathLike,
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
    """Predicts image files with a trained network and prints what was written.

    Args:
      model: the folder of a run, or the name of a shipped network; see `load.load_predictor`.
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
      **chosen: checkpoint, mode, level and weights; see `load.load_predictor`.

    Returns:
      The result of `predict_folder`.

    Raises:
      UserError: several processes share the job, or as `load.open_model` and `predict_folder`.
    """
    if processes.process_count() > 1:
        raise UserError(
            f"images {images}: one process predicts them; start one process alone, with --nomultiprocess, or give each "
            "process its part of the images, with --nomultiprocess --shard=I/N"
        )
    choice = Choice(tuple(save), mask_format, probability_format)
    run = open_model(model, flag=flag, devices=devices, **chosen)
    about = {"step": run.step, "weights": run.weights, "checkpoint_sha256": run.checkpoint_sha256}
    result = predict_folder(
        run.predictor,
        images,
        out,
        batch_size=run.config.eval.batch_size,
        palette=run.facts["palette"],
        about=about,
        choice=choice,
        overwrite=overwrite,
        recursive=recursive,
        shard=shard,
        show_progress=True,
    )
    noun = "image" if result["num_images"] == 1 else "images"
    print(
        f"{result['num_images']} {noun} with the checkpoint of step {run.step}, {result['images_per_s']:.1f} images/s, "
        f"sizes compiled: {result['num_compiles']}; written to:"
    )
    for path in result["folders"]:
        print(f"  {path}")
    if result["num_finished"]:
        print(f"{result['num_finished']} images had their results already")
    if result["num_there"] < result["num_all"]:
        print(f"finished so far, with all parts: {result['num_there']} of {result['num_all']} images")
    page = expand(out, "--out") / index_page.NAME
    if page.exists():
        print(f"{page} shows the overlays")
    return result
