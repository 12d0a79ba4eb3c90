#!/usr/bin/env bash
# OpenCV: IMREAD_UNCHANGED multiplies colours by alpha and inverts WhiteIsZero in 8-bit TIFF; in 16-bit TIFF it does neither.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check opencv-python-headless==5.0.0.93 tifffile==2026.3.3 numpy==2.4.6
venv/bin/python -I - <<'PY'
import cv2
import numpy as np
import tifffile

print("version: opencv", cv2.__version__, "tifffile", tifffile.__version__)
print("guess: IMREAD_UNCHANGED gives the stored values, for 8 bits as for 16 bits")
stored = np.full((4, 5, 4), (200, 100, 50, 64), np.uint8)
seen = {}
for bits, dtype, scale in ((8, np.uint8, 1), (16, np.uint16, 257)):
    pixels = stored.astype(dtype) * dtype(scale)
    tifffile.imwrite("rgba.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    blue, green, red, alpha = (cv2.imread("rgba.tif", cv2.IMREAD_UNCHANGED)[0, 0] // scale).tolist()
    tifffile.imwrite("grey.tif", pixels[..., 0], photometric="miniswhite")
    grey = int(cv2.imread("grey.tif", cv2.IMREAD_UNCHANGED)[0, 0] // scale)
    seen[bits] = (red, green, blue), grey
    print(f"seen: {bits} bits: RGB (200, 100, 50) with unassociated alpha 64 is {(red, green, blue)}; WhiteIsZero 200 is {grey}")
if seen[16] != ((200, 100, 50), 200) or seen[8][1] != 55 or seen[8][0][0] > 60:
    raise SystemExit("changed: both depths are read in the same way, or in another one")
PY
