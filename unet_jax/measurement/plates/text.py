"""Scores of plates as text."""

from collections.abc import Mapping
from typing import Any

from unet_jax.plotting.text_table import format_table


def format_scores(scores: Mapping[str, Any], prefix: str = "") -> str:
    """Returns scores as a table.

    >>> print(format_scores({"plates/PN-ACC": 0.96875, "nll": 0.3}, "plates/"))
    plates (distances in pixels)
    ------------------------------------
    PN-ACC                        0.9688

    Args:
      scores: by name.
      prefix: only the scores whose names begin with it; it is not shown.
    """
    shown = {name.removeprefix(prefix): value for name, value in scores.items() if name.startswith(prefix)}
    lines = [(name, str(value) if isinstance(value, int) else f"{value:.4f}") for name, value in shown.items()]
    return format_table([("plates (distances in pixels)", ""), *lines], rules=(1,))
