#!/usr/bin/env bash
# JPEG 2000: a file whose header names the reversible wavelet, in one layer, need not hold the values that were saved.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pillow==13.0.0 imagecodecs==2026.3.6 numpy==2.4.6
venv/bin/python -I - <<'PY'
import io

import imagecodecs
import numpy as np
import PIL
from PIL import Image

print("version: Pillow", PIL.__version__, "imagecodecs", imagecodecs.__version__)
ids = np.random.default_rng(0).integers(0, 5, (64, 64)).astype(np.uint8)


def saved(**options):
    """Returns layers and wavelet that the header names (1 is the reversible 5-3), and the share of the values that differ."""
    file = io.BytesIO()
    Image.fromarray(ids).save(file, "JPEG2000", **options)
    data = file.getvalue()
    # The marker COD: length, style, progression, layers (2 bytes), colours, levels, two sizes of blocks, style, wavelet.
    at = data.index(b"\xff\x52")
    both = [np.asarray(Image.open(file)), imagecodecs.jpeg2k_decode(data)]
    return int.from_bytes(data[at + 6 : at + 8]), data[at + 13], [float((read != ids).mean()) for read in both]


whole, cut = saved(), saved(quality_mode="rates", quality_layers=[20])
print("made: ids 0 to 4 in 64 x 64 pixels, saved as they are, and at a rate of 20")
print("guess: a header with the reversible wavelet and one layer says that nothing is lost")
print(f"seen:  both name wavelet {cut[1]} in {cut[0]} layer; {max(whole[2]):.0%} and {min(cut[2]):.0%} of the values differ")
if whole != (1, 1, [0.0, 0.0]) or cut[:2] != (1, 1) or not min(cut[2]) > 0.5:
    raise SystemExit("changed: the header now tells a file that was cut to a rate, or it is not cut")
PY
