"""A run in TensorBoard: its rows as scalars, and predictions on a few images of val (`train.tensorboard`)."""

import contextlib
import importlib.util
import math
from collections.abc import Mapping, Sequence

import numpy as np
from etils.epath import Path

from unet_jax import segmentation
from unet_jax.errors import UserError
from unet_jax.plotting import drawing, panels
from unet_jax.storage import paths

NUM_PICTURES = 4  # of val, spread evenly over it


def check_tensorboard(wanted: bool) -> None:
    """Raises UserError where TensorBoard is wanted and the package that writes its files is not installed."""
    if wanted and importlib.util.find_spec("tensorboardX") is None:
        raise UserError(
            "train.tensorboard: the package tensorboardX is not installed; pip install 'unet-jax[tensorboard]', "
            "or leave the key False"
        )


class TensorBoardWriter:
    """Writes the events of a run; the rows of metrics.jsonl by `scalars`, and sample predictions.

    Args:
      folder: of the events; one in a bucket gets them at each evaluation and at the end.
      start_step: the step that the run goes on from: what stands there of later ones is purged.
      source: the examples of val.
      class_names: one per channel of the network.
      report_classes: names of the classes that are drawn.
      palette: the data set's colours.
    """

    def __init__(
        self,
        folder: str | Path,
        start_step: int,
        source,
        *,
        class_names: Sequence[str],
        report_classes: Sequence[str],
        palette: Sequence = (),
    ):
        from tensorboardX import SummaryWriter  # an extra: only who wants it needs it

        self._folder, self._filling = Path(folder), contextlib.ExitStack()
        self._local = self._filling.enter_context(paths.filling(self._folder))
        self._writer = SummaryWriter(str(self._local), purge_step=start_step + 1)
        self._source, self._names, self._report_classes = (
            source,
            class_names,
            [class_names.index(k) for k in report_classes],
        )
        self._colours = drawing.class_colours(class_names, palette)
        places = np.unique(np.linspace(0, len(source) - 1, min(NUM_PICTURES, len(source))).round().astype(int))
        self._places = {source[int(place)]["id"]: int(place) for place in places}
        self._masks: dict[str, np.ndarray] = {}

    def scalars(self, step: int, split: str, values: Mapping) -> None:
        """A row as of `MetricWriter.write`, each value as SPLIT/NAME; NaN and infinities are left out."""
        for name, value in values.items():
            if isinstance(value, int | float) and math.isfinite(value):
                self._writer.add_scalar(f"{split}/{name}", value, step)
        self._writer.flush()

    def note(self, name: str, masks: np.ndarray, ids: np.ndarray) -> None:
        """Keeps the masks of an image that is drawn; the `on_image` of `evaluate`, so that nothing is predicted twice."""
        if name in self._places:
            self._masks[name] = masks

    def pictures(self, step: int, split: str) -> None:
        """Adds what was noted, as `overlay.panels` draws it."""
        for name, masks in self._masks.items():
            example = self._source[self._places[name]]
            truth, valid = segmentation.true_masks(example["mask"], len(self._names))
            names, colours = ([of[k] for k in self._report_classes] for of in (self._names, self._colours))
            truth, masks = truth[..., self._report_classes], masks[..., self._report_classes]
            drawn = panels.panels(example["image"], truth, masks, valid, names, colours, name)
            self._writer.add_image(f"{split}/{name}", drawn, step, dataformats="HWC")
        self._masks = {}
        self._writer.flush()
        if self._local != self._folder:  # a bucket takes whole files alone; the newest event may follow with the next
            paths.copy(self._local, self._folder)

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()
        self._filling.close()
