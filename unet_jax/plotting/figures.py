"""Figures of Matplotlib made without pyplot: nothing global, no window."""

import io

from etils.epath import Path

# Colour-blind eyes can distinguish these (after Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def new_figure(width: float, height: float, dpi: int = 120):
    """Creates an empty figure, `width` x `height` inches. Imports Matplotlib, which takes half a second, when called."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure, path: Path) -> None:
    """Writes a figure as PNG. Raises OSError."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    Path(path).write_bytes(drawn.getvalue())
