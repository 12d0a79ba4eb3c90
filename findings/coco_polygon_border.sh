#!/usr/bin/env bash
# supervision and pycocotools: a mask that supervision exports to COCO loses its last row and column in pycocotools.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check supervision==0.31.2 pycocotools==2.0.11 opencv-python-headless==5.0.0.93 numpy==2.4.6
venv/bin/python -I - <<'PY'
import contextlib
import importlib.metadata
import io
import json
import pathlib

import cv2
import numpy as np
import supervision as sv
from pycocotools.coco import COCO

for package in ("supervision", "pycocotools"):
    print("version:", package, importlib.metadata.version(package))
mask = np.zeros((20, 20), bool)
mask[2:12, 2:12] = True
cv2.imwrite("cell.png", np.zeros((20, 20, 3), np.uint8))
detections = sv.Detections(xyxy=np.array([[2.0, 2.0, 12.0, 12.0]]), mask=mask[None], class_id=np.array([0]))
dataset = sv.DetectionDataset(classes=["cell"], images=["cell.png"], annotations={"cell.png": detections})
dataset.as_coco(annotations_path="coco.json")
(annotation,) = json.loads(pathlib.Path("coco.json").read_text())["annotations"]
with contextlib.redirect_stdout(io.StringIO()):
    coco = COCO("coco.json")
decoded = coco.annToMask(annotation).astype(bool)

print("guess: pycocotools decodes the 10 x 10 mask that supervision exported")
print(f"seen: area {annotation['area']:.0f} in the file, polygon {annotation['segmentation']}")
print(f"seen: pycocotools decodes {decoded.sum()} pixels, IoU with the mask {(decoded & mask).sum() / (decoded | mask).sum():.2f}")
if (int(mask.sum()), int(decoded.sum())) != (100, 81):
    raise SystemExit("changed: the decoded mask is no longer 81 of 100 pixels")
PY
