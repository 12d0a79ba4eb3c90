"""TensorBoard events of a run (`train.tensorboard`): the rows of metrics.jsonl, and predictions on a few images of val."""

import contextlib
import importlib.util
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from etils.epath import Path

from unet_jax import segmentation
from unet_jax.errors import UserError
from unet_jax.plotting import drawing, panels
from unet_jax.storage import paths
from unet_jax.storage.paths import PathLike
from unet_jax.storage.write_errors import report_write_errors

# The number of images that are drawn, spread evenly over val.
NUM_PICTURES = 4


class Examples(Protocol):
    """Examples by position; each is a dict with `id`, `image` and `mask`."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Mapping[str, Any]: ...


def check_tensorboard(wanted: bool) -> None:
    """Checks that tensorboardX, which writes the files of TensorBoard, is installed if it is needed.

    Args:
      wanted: the value of `train.tensorboard`.

    Raises:
      UserError: it is needed and not installed.
    """
    if wanted and importlib.util.find_spec("tensorboardX") is None:
        raise UserError(
            "train.tensorboard=True: the package tensorboardX is not installed; pip install 'unet-jax[tensorboard]', "
            "or set train.tensorboard=False"
        )


class TensorBoardWriter:
    """Writes the rows of metrics.jsonl and sample predictions as events.

    During an evaluation `keep_masks` collects the masks of the images to draw; then `write_pictures` draws them.

    Args:
      folder: the folder of the events. If it is in a bucket, the events are copied there at each evaluation and at the end.
      start_step: the step that the run goes on from; events of later steps are purged.
      source: the examples of val.
      class_names: one per channel of the network.
      report_classes: names of the classes to draw.
      palette: the data set's colours.

    Raises:
      UserError: the folder cannot be made.
    """

    def __init__(
        self,
        folder: PathLike,
        start_step: int,
        source: Examples,
        *,
        class_names: Sequence[str],
        report_classes: Sequence[str],
        palette: Sequence = (),
    ):
        # An optional package, so it is imported only here.
        from tensorboardX import SummaryWriter

        self._folder, self._filling = Path(folder), contextlib.ExitStack()
        self._local = self._filling.enter_context(paths.via_local_folder(self._folder))
        with report_write_errors():
            # The writer would fail in another thread.
            self._local.mkdir(parents=True, exist_ok=True)
        self._writer = SummaryWriter(str(self._local), purge_step=start_step + 1)
        self._source, self._names = source, class_names
        self._report_channels = [class_names.index(name) for name in report_classes]
        self._colours = drawing.class_colours(class_names, palette)
        places = np.unique(np.linspace(0, len(source) - 1, min(NUM_PICTURES, len(source))).round().astype(int))
        self._places = {source[int(place)]["id"]: int(place) for place in places}
        self._masks: dict[str, np.ndarray] = {}

    def write_row(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """Writes a row of `MetricWriter.write`: each value as SPLIT/NAME, without NaN and infinities."""
        for name, value in values.items():
            if isinstance(value, int | float) and math.isfinite(value):
                self._writer.add_scalar(f"{split}/{name}", value, step)
        self._writer.flush()

    def keep_masks(self, name: str, masks: np.ndarray, ids: np.ndarray) -> None:
        """Keeps the masks of an image if it is one of those to draw.

        `evaluate` calls it for every image (`on_image`), so no image is predicted a second time for its picture.

        Args:
          name: the id of the image.
          masks: bool `[H, W, K]`, as predicted.
          ids: the predicted class ids; not used.
        """
        if name in self._places:
            self._masks[name] = masks

    def write_pictures(self, step: int, split: str) -> None:
        """Draws the masks kept since the last call with `panels.panels`, and writes the pictures."""
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
        # Nothing can be appended in a bucket, so whole files are copied. The newest event may come with the next copy.
        if self._local != self._folder:
            paths.copy(self._local, self._folder)

    def close(self) -> None:
        """Writes the last events and closes the files."""
        self._writer.close()
        self._filling.close()
