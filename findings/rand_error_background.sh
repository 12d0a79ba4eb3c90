#!/usr/bin/env bash
# scikit-image: adapted_rand_error is 0, the best value, for a segmentation that fills the whole background with an object.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check scikit-image==0.26.0 numpy==2.4.6
venv/bin/python -I - <<'PY'
import numpy as np
import skimage
from skimage.metrics import adapted_rand_error

print("version: scikit-image", skimage.__version__)
truth = np.zeros((60, 60), int)
truth[5:25, 5:25], truth[35:55, 35:55] = 1, 2
one = np.where(truth == 1, 1, 0)
cases = {
    "the background filled with a third object": (truth, np.where(truth == 0, 3, truth)),
    "one object in truth, nothing found": (one, np.zeros_like(one)),
}

print("guess: an object where there is none, and an object that is missed, make the error larger than 0")
errors = {}
for name, (true, predicted) in cases.items():
    error, precision, recall = adapted_rand_error(true, predicted)
    errors[name] = float(error)
    print(f"seen: {name}: error {error:.2f}, precision {precision:.2f}, recall {recall:.2f}")
if any(errors.values()):
    raise SystemExit(f"changed: {errors}")
PY
