"""Makes sources of annotations, and reads what was made of them."""

import json

import numpy as np
from PIL import Image

from unet_jax.data.annotations.convert import Choice, convert
from unet_jax.data.annotations.options import Options

SQUARE = [[2, 2], [12, 2], [12, 12], [2, 12]]
# Height and width.
SIZE = (20, 30)


class Sources:
    """Writes sources below `root`, and imports them into `out`."""

    def __init__(self, root):
        self.root, self.out, self.notes = root / "source", root / "out", []

    def image(self, name, size=SIZE):
        """Writes a grey image."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(size, len(name), np.uint8)).save(path)
        return path

    def write(self, name, content):
        """Writes text, or a value as JSON."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def convert(
        self, source="", *, format_="auto", labels=(), overlaps="later", crowds="keep", unannotated="error", **options
    ):
        """Imports a source and returns what import.json says."""
        chosen = Choice(labels=labels, overlaps=overlaps, crowds=crowds, unannotated=unannotated)
        how = Options(**options, on_note=self.notes.append)
        return convert(self.root / source, self.out, format_=format_, options=how, choice=chosen)

    def mask(self, id_, folder="masks"):
        """Returns the values of a mask that was written."""
        return np.asarray(Image.open(self.out / folder / f"{id_}.png"))
