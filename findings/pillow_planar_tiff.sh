#!/usr/bin/env bash
# Pillow: a 16-bit RGB TIFF whose channels are stored one after the other is read as noise; compressed, it is read correctly.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6
venv/bin/python -I - <<'PY'
import numpy as np
import PIL
import tifffile
from PIL import Image

print("version: pillow", PIL.__version__, "tifffile", tifffile.__version__)
rows, columns = np.mgrid[:40, :60]
image = np.stack([rows * 1000, columns * 1000, rows * columns], -1).astype(np.uint16)
expected = (image >> 8).astype(np.uint8)

print("guess: Pillow keeps the upper 8 of 16 bits, or refuses the file, for each layout of the same pixels")
right = {}
for layout in ("contig", "separate"):
    for compression in (None, "zlib"):
        pixels = image if layout == "contig" else np.moveaxis(image, -1, 0)
        name = f"{layout}-{compression}.tif"
        tifffile.imwrite(name, pixels, photometric="rgb", planarconfig=layout, compression=compression)
        with Image.open(name) as opened:
            read = np.asarray(opened)
        same = float(np.mean(np.all(read == expected, -1)))
        right[layout, compression] = same
        print(f"seen: planarconfig {layout}, compression {compression}: mode {opened.mode}, {same:.0%} of the pixels right")
if right["separate", None] > 0.5 or min(value for key, value in right.items() if key != ("separate", None)) < 1:
    raise SystemExit("changed: the plain separate file is read right, or another one is not")
PY
