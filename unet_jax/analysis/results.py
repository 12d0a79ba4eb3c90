"""Writes the results of an analysis: tables as CSV, everything as JSON, pictures as PNG."""

import csv
import io
from collections.abc import Callable, Mapping
from typing import Any

from etils.epath import Path

from unet_jax.plotting import figures
from unet_jax.storage import json_file, paths
from unet_jax.storage.write_errors import report_write_errors


def write_results(out: str | Path, files: Mapping[str, Any]) -> list[Path]:
    """Writes files into a folder, which is made if missing; files of the same names are replaced.

    Args:
      out: the folder.
      files: contents by file name. NAME.json takes any value of plain types and NumPy scalars, NAME.csv a non-empty list
        of dicts with the same keys, NAME.png a figure of Matplotlib. NaN becomes null in JSON and an empty cell in CSV.

    Returns:
      The paths of the files, in the order given.

    Raises:
      UserError: the folder cannot be written.
    """
    folder = Path(out)
    write: dict[str, Callable[[Path, Any], None]] = {".json": _write_json, ".csv": _write_csv, ".png": _write_png}
    with report_write_errors():
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write[Path(name).suffix](folder / name, content)
    return [folder / name for name in files]


def _write_png(path: Path, figure: Any) -> None:
    figures.save_figure(figure, path)


def _write_json(path: Path, value: Any) -> None:
    json_file.write(path, json_file.plain(value), indent=1)


def _write_csv(path: Path, rows: list[Mapping]) -> None:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, fieldnames=list(rows[0]))
    table.writeheader()
    table.writerows(json_file.plain(rows))
    paths.write_whole(path, text.getvalue().encode())
