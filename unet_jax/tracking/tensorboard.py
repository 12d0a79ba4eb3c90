"""TensorBoard events of a run: the rows of metrics.jsonl, and predictions on a few images of val (`train.tensorboard`)."""

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

# Images of val that are drawn, spread evenly over it.
NUM_PICTURES = 4


def check_tensorboard(wanted: bool) -> None:
    """Raises UserError if TensorBoard is wanted and tensorboardX, which writes its files, is not installed."""
    if wanted and importlib.util.find_spec("tensorboardX") is None:
        raise UserError(
            "train.tensorboard: the package tensorboardX is not installed; pip install 'unet-jax[tensorboard]', "
            "or leave the key False"
        )


class TensorBoardWriter:
    """Writes the rows of metrics.jsonl and sample predictions as events.

    At an evaluation `keep_masks` collects the masks of the images to be drawn, then `write_pictures` draws them.

    Args:
      folder: of the events. A folder in a bucket gets them at each evaluation and at the end.
      start_step: the step that the run goes on from; events of later steps are purged.
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
        # An extra, so imported only where it is used.
        from tensorboardX import SummaryWriter

        self._folder, self._filling = Path(folder), contextlib.ExitStack()
        self._local = self._filling.enter_context(paths.via_local_folder(self._folder))
        self._writer = SummaryWriter(str(self._local), purge_step=start_step + 1)
        self._source, self._names = source, class_names
        self._report_channels = [class_names.index(name) for name in report_classes]
        self._colours = drawing.class_colours(class_names, palette)
        places = np.unique(np.linspace(0, len(source) - 1, min(NUM_PICTURES, len(source))).round().astype(int))
        self._places = {source[int(place)]["id"]: int(place) for place in places}
        self._masks: dict[str, np.ndarray] = {}

    def write_row(self, step: int, split: str, values: Mapping) -> None:
        """Writes a row of `MetricWriter.write`, each value as SPLIT/NAME; NaN and infinities are left out."""
        for name, value in values.items():
            if isinstance(value, int | float) and math.isfinite(value):
                self._writer.add_scalar(f"{split}/{name}", value, step)
        self._writer.flush()

    def keep_masks(self, name: str, masks: np.ndarray, ids: np.ndarray) -> None:
        """Keeps the masks of an image that is to be drawn.

        It is the `on_image` of `evaluate`, so no image is predicted a second time for its picture.
        """
        if name in self._places:
            self._masks[name] = masks

    def write_pictures(self, step: int, split: str) -> None:
        """Draws the masks kept since the last call, as `panels.panels` does, and writes the pictures."""
        for name, masks in self._masks.items():
            example = self._source[self._places[name]]
            truth, valid = segmentation.true_masks(example["mask"], len(self._names))
            names = [self._names[channel] for channel in self._report_channels]
            colours = [self._colours[channel] for channel in self._report_channels]
            truth, masks = truth[..., self._report_channels], masks[..., self._report_channels]
            drawn = panels.panels(example["image"], truth, masks, valid, names, colours, name)
            self._writer.add_image(f"{split}/{name}", drawn, step, dataformats="HWC")
        self._masks = {}
        self._writer.flush()
        # A bucket takes only whole files; the newest event may follow with the next copy.
        if self._local != self._folder:
            paths.copy(self._local, self._folder)

    def close(self) -> None:
        """Writes the last events and closes the files."""
        self._writer.close()
        self._filling.close()
