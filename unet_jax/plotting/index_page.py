"""A page that shows the pictures of a folder in a browser: `index.html`, with relative links and no script."""

import dataclasses
import html
import math
import urllib.parse
from collections.abc import Mapping, Sequence

from etils.epath import Path

from unet_jax.storage import paths
from unet_jax.storage.write_errors import report_write_errors

NAME = "index.html"
STYLE = (
    "body { font-family: sans-serif; margin: 1rem } figure { display: inline-block; margin: 0 1rem 1rem 0; "
    "vertical-align: top } img { display: block; max-width: 100% } figcaption { max-width: 60rem }"
)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of the page.

    Attributes:
      file: the path from the folder of the page, e.g. "overlays/cell_3.png".
      name: what the picture shows, e.g. the id of an image.
      scores: by name, e.g. {"IoU anode": 0.92}; empty where there are none. NaN is shown as "-".
    """

    file: str
    name: str
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)


def write_index_page(folder: Path, title: str, pictures: Sequence[Picture], by: str) -> Path:
    """Writes `index.html` into a folder; replaces an earlier one.

    Args:
      folder: an existing folder, local or in a bucket.
      title: of the page.
      pictures: in the order of the page.
      by: the command that writes the page, such as "unet-jax eval"; see `is_page_of`.

    Returns:
      The path of the file.

    Raises:
      UserError: the file cannot be written.
    """
    path = folder / NAME
    with report_write_errors():
        paths.write_whole(path, index_page(title, pictures, by).encode())
    return path


def is_page_of(path: Path, by: str) -> bool:
    """Returns True if `path` is a page that the command `by` has written.

    Args:
      path: an existing file, local or in a bucket.
      by: the command, as it was given to `write_index_page`.
    """
    return _mark(by).encode() in paths.read_file(path)


def _mark(by: str) -> str:
    return f'<meta name="generator" content="{html.escape(by)}">'


def index_page(title: str, pictures: Sequence[Picture], by: str) -> str:
    """Returns the page as HTML; every name is escaped.

    >>> page = index_page("test", [Picture("overlays/a<b.png", "a<b", {"IoU anode": 0.5})], by="unet-jax eval")
    >>> print(page.splitlines()[-3])
    <figcaption>a&lt;b: IoU anode 0.5000</figcaption></figure>
    """
    title = html.escape(title)
    lines = [
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">{_mark(by)}<title>{title}</title>',
        f"<style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>",
    ]
    for picture in pictures:
        link, name = html.escape(urllib.parse.quote(picture.file)), html.escape(picture.name)
        lines.append(f'<figure><a href="{link}"><img src="{link}" alt="{name}" loading="lazy"></a>')
        lines.append(f"<figcaption>{html.escape(_caption(picture))}</figcaption></figure>")
    return "\n".join([*lines, "</body>", "</html>", ""])


def worst_first(pictures: Sequence[Picture], score: str) -> list[Picture]:
    """Returns the pictures by a score, the lowest first; those without one come last."""

    def place(picture: Picture) -> tuple[bool, float]:
        value = picture.scores.get(score, math.nan)
        return math.isnan(value), 0.0 if math.isnan(value) else value

    return sorted(pictures, key=place)


def _caption(picture: Picture) -> str:
    scores = (f"{name} {'-' if math.isnan(value) else f'{value:.4f}'}" for name, value in picture.scores.items())
    return ": ".join(filter(None, (picture.name, ", ".join(scores))))
