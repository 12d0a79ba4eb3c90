"""The options with which annotations are read."""

import dataclasses
import sys
from collections.abc import Callable

from unet_jax.checks import choice

POLYGON_POINTS = ("corners", "centres")
NO_AREA = ("error", "skip")
OUTLINES = ("cell", "nucleus")
DOMAINS = {"polygon_points": choice(POLYGON_POINTS), "no_area": choice(NO_AREA), "outline": choice(OUTLINES)}


@dataclasses.dataclass(frozen=True)
class Options:
    """Says how annotations are read.

    Attributes:
      images: folder of the images; "" for where the source says.
      polygon_points: "corners" if the corners of polygons lie on the corners of pixels, "centres" if they are the centres of
        the outermost pixels; see `polygons.fill`.
      no_area: "error" refuses points, lines and polygons without area, "skip" passes over them with a note.
      scratch: folder for images that a source holds inside its own files; "" refuses those.
      label: of all objects that have none in the source; of ImageJ's ROIs, which have a name but no class, of all. "" for none.
      outline: of cells that have two outlines in QuPath, "cell" or "nucleus".
      on_note: gets a line for what is passed over.
    """

    images: str = ""
    polygon_points: str = "corners"
    no_area: str = "error"
    scratch: str = ""
    label: str = ""
    outline: str = "cell"
    on_note: Callable[[str], None] = lambda line: print(line, file=sys.stderr)

    def __post_init__(self):
        for name, domain in DOMAINS.items():
            domain.check(f"--{name}", getattr(self, name))
