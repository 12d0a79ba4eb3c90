"""Figures of Matplotlib made without pyplot: nothing global, no window."""

import io
import os
from typing import TYPE_CHECKING

from etils.epath import Path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colour-blind eyes can distinguish these (after Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def new_figure(width: float, height: float, dpi: int = 120) -> "Figure":
    """Creates an empty figure.

    Matplotlib takes half a second to import, so it is imported here.

    Args:
      width: in inches.
      height: in inches.
      dpi: pixels per inch.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: str | os.PathLike) -> None:
    """Writes a figure as PNG.

    Raises:
      OSError: the file cannot be written.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    Path(path).write_bytes(drawn.getvalue())
