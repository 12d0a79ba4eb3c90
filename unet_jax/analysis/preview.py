"""Draws what a network will see: training windows before and after augmentation, side by side on one sheet.

    python -m unet_jax.analysis.preview --config=configs/default.py --out=sheet.png
    python -m unet_jax.analysis.preview --config=configs/nuclei.py:FOLDER --out=sheet.png --config.augment.rotate=180
    python -m unet_jax.analysis.preview --config=configs/nuclei.py:FOLDER:nnunet --out=sheet.png

The windows are those of the run's steps from --step on, in their order, and their changes those of the step: both follow
from the seed, the step and the window's place in the batch. Masks are outlined in the colours of the classes; what is not
valid is greyed out. A window and its change are shown in the same grey values, white and black those of the window. With
data.weight_map, the map of the changed window stands to the right: black for 0, white for 1.
Nothing is trained, and any --config.KEY flag works.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags

from unet_jax.errors import UserError
from unet_jax.plotting import drawing
from unet_jax.runtime import cli
from unet_jax.storage import paths
from unet_jax.storage.write_errors import report_write_errors

# Pixels of a window's longer side: at least, or at most if it has more. Pairs in a row.
TILE, PAIRS = 200, 4


class Pair(NamedTuple):
    """A training window: dicts of image float32 `[h, w, C]`, mask and valid, with a map of weights weight float32 `[h, w]`."""

    step: int
    place: int
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]


def pairs(config: ConfigDict, parts, first_step: int = 0) -> Iterator[Pair]:
    """Yields the windows of the run that `config` describes from the step after `first_step` steps on, without end.

    Args:
      config: of the run.
      parts: its experiment, from `experiment.build.build_experiment`.
      first_step: 0 or more.
    """
    # Here, so that --help is quick.
    import jax

    from unet_jax.data.augment.augment import augment_batch
    from unet_jax.data.loading import train_pipeline
    from unet_jax.training.step import step_keys

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


def draw(shown: list[Pair], class_names, palette=()) -> np.ndarray:
    """Draws the sheet, RGB uint8: each pair side by side below its step and its place in the batch, and a legend."""
    colours = drawing.class_colours(class_names, palette)[1:]
    legend = list(zip(class_names[1:], colours, strict=True))
    if not all(window["valid"].all() for pair in shown for window in (pair.before, pair.after)):
        legend.append(("void", drawing.VOID_COLOUR))
    return drawing.tile_sheet([_tile(pair, colours) for pair in shown], PAIRS, legend)


def _tile(pair: Pair, colours) -> np.ndarray:
    """Draws before | after | weights, if any, below a title; both images are stretched by the percentiles of `before`."""
    low, high = np.percentile(pair.before["image"], (0.5, 99.5))
    longest = max(pair.before["image"].shape[:2])
    # Masks are enlarged by whole factors.
    factor = -(-TILE // longest) if longest <= TILE else TILE / longest
    panels = []
    for window in (pair.before, pair.after):
        grey = np.rint(255 * np.clip((window["image"] - low) / max(high - low, 1e-12), 0, 1)).astype(np.uint8)
        masks = window["mask"] if window["mask"].ndim == 3 else window["mask"][..., None] == np.arange(len(colours) + 1)
        masks, valid = (drawing.resize(x.astype(bool), factor) for x in (masks[..., 1:], window["valid"]))
        image = drawing.grey_out(drawing.resize(drawing.to_display(grey), factor), valid)
        panels.append(drawing.draw_masks(image, masks & valid[..., None], colours, fill=0))
    if "weight" in pair.after:
        grey = np.rint(255 * np.clip(pair.after["weight"], 0, 1)).astype(np.uint8)
        panels.append(drawing.resize(drawing.to_display(grey), factor))
    gap = drawing.blank(panels[0].shape[0], 2)
    side_by_side = np.concatenate([part for panel in panels for part in (gap, panel)][1:], axis=1)
    title = drawing.legend_strip(side_by_side.shape[1], [(f"step {pair.step}, window {pair.place}", None)])
    return np.concatenate([title, side_by_side])


def define_flags() -> None:
    config_flags.DEFINE_config_file("config", None, "File with get_config(); --config.KEY=VALUE sets one of its keys.")
    flags.DEFINE_string("out", None, "The picture to write, a .png file.", required=True)
    flags.DEFINE_integer("num", 16, "Windows on the sheet.")
    flags.DEFINE_integer("step", 0, "How many steps of the run to skip.")
    flags.DEFINE_integer("seed", None, "Instead of config.seed.")
    flags.mark_flag_as_required("config")


def main() -> None:
    values = flags.FLAGS
    config, out = values.config, paths.expand(values.out, "--out")
    for name, least, most in (("num", 1, 1000), ("step", 0, 2**31 - 1)):
        value = getattr(values, name)
        if not least <= value <= most:
            raise UserError(f"--{name}={value}: give {least} to {most}")
    if out.suffix.lower() != ".png":
        raise UserError(f"--out={values.out}: the sheet is a PNG file; give a name that ends in .png")
    if values.seed is not None:
        config.seed = values.seed

    # After the flags: --help needs no jax.
    from unet_jax.experiment.build import build_experiment

    parts = build_experiment(config)
    windows = pairs(config, parts, values.step)
    shown = [next(windows) for _ in range(values.num)]
    picture = draw(shown, parts.dataset.class_names, parts.dataset.palette)
    with report_write_errors():
        out.parent.mkdir(parents=True, exist_ok=True)
        drawing.save_png(picture, out)
    print(f"{len(shown)} windows of {config.data.name}, steps {shown[0].step} to {shown[-1].step}, seed {config.seed}")
    print(f"written: {out}")


if __name__ == "__main__":
    define_flags()
    cli.run(main, __doc__)
