"""Draws training windows before and after augmentation on one sheet."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from etils.epath import Path
from ml_collections import ConfigDict

from unet_jax.data.augment.augment import augment_batch
from unet_jax.data.loading import train_pipeline
from unet_jax.experiment.build import Experiment, build_experiment
from unet_jax.plotting import drawing
from unet_jax.storage.write_errors import report_write_errors
from unet_jax.training.step import step_keys

# A window's longer side on the sheet, in pixels: smaller windows are enlarged to at least this, larger ones reduced to it.
TILE = 200
# Pairs in a row.
PAIRS = 4


class Pair(NamedTuple):
    """Holds a training window before and after augmentation.

    Attributes:
      step: the number of steps before the one that trains on it.
      place: its index in the batch.
      before: image float32 `[h, w, C]`, mask, valid bool `[h, w]` and, with data.weight_map, weight float32 `[h, w]`.
      after: the same after augmentation.
    """

    step: int
    place: int
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]


def pairs(config: ConfigDict, parts: Experiment, first_step: int = 0) -> Iterator[Pair]:
    """Yields the training windows of a run, without end.

    Args:
      config: config of the run.
      parts: its experiment, from `experiment.build.build_experiment`.
      first_step: the number of steps to skip.
    """
    augment = jax.jit(lambda key, batch: augment_batch(key, batch, **config.augment.to_dict()))
    batches = train_pipeline.train_batches(
        parts.dataset.source("train"),
        batch_size=config.train.batch_size,
        seed=config.seed,
        start_step=first_step,
        **parts.loading_options,
    )
    for step, before in enumerate(batches, first_step):
        after = jax.device_get(augment(step_keys(config.seed, step)[0], before))
        for place in range(config.train.batch_size):
            yield Pair(step, place, *({name: x[place] for name, x in batch.items()} for batch in (before, after)))


def draw(shown: Sequence[Pair], class_names: Sequence[str], palette: Sequence[tuple[int, int, int]] = ()) -> np.ndarray:
    """Draws the sheet: each pair side by side below its step and its index in the batch, and a legend.

    Args:
      shown: the windows.
      class_names: names of the classes, background first.
      palette: RGB per class; () for the default colours.

    Returns:
      RGB uint8 `[H, W, 3]`.
    """
    colours = drawing.class_colours(class_names, palette)[1:]
    legend = list(zip(class_names[1:], colours, strict=True))
    if not all(window["valid"].all() for pair in shown for window in (pair.before, pair.after)):
        legend.append(("void", drawing.VOID_COLOUR))
    return drawing.tile_sheet([_tile(pair, colours) for pair in shown], PAIRS, legend)


def _tile(pair: Pair, colours) -> np.ndarray:
    """Draws before, after and, if any, weights below a title; `before` sets the grey values of both images."""
    limits = drawing.display_limits(pair.before["image"])
    longest = max(pair.before["image"].shape[:2])
    # Masks are enlarged by integer factors.
    factor = -(-TILE // longest) if longest <= TILE else TILE / longest
    panels = []
    for window in (pair.before, pair.after):
        masks = window["mask"] if window["mask"].ndim == 3 else window["mask"][..., None] == np.arange(len(colours) + 1)
        masks, valid = (drawing.resize(x.astype(bool), factor) for x in (masks[..., 1:], window["valid"]))
        image = drawing.grey_out(drawing.resize(drawing.to_display(window["image"], limits), factor), valid)
        panels.append(drawing.draw_masks(image, masks & valid[..., None], colours, fill=0))
    if "weight" in pair.after:
        grey = np.rint(255 * np.clip(pair.after["weight"], 0, 1)).astype(np.uint8)
        panels.append(drawing.resize(drawing.to_display(grey), factor))
    gap = drawing.blank(panels[0].shape[0], 2)
    side_by_side = np.concatenate([part for panel in panels for part in (gap, panel)][1:], axis=1)
    title = drawing.legend_strip(side_by_side.shape[1], [(f"step {pair.step}, window {pair.place}", None)])
    return np.concatenate([title, side_by_side])


def write_sheet(config: ConfigDict, out: Path, num: int = 16, step: int = 0) -> None:
    """Draws the training windows of a run and writes the sheet.

    Args:
      config: config of the run.
      out: the PNG file to write.
      num: number of windows.
      step: number of steps of the run to skip.

    Raises:
      UserError: the config is wrong, or the file cannot be written.
    """
    parts = build_experiment(config)
    windows = pairs(config, parts, step)
    shown = [next(windows) for _ in range(num)]
    picture = draw(shown, parts.dataset.class_names, parts.dataset.palette)
    with report_write_errors():
        out.parent.mkdir(parents=True, exist_ok=True)
        drawing.save_png(picture, out)
    print(f"{len(shown)} windows of {config.data.name}, steps {shown[0].step} to {shown[-1].step}, seed {config.seed}")
    print(f"written: {out}")
