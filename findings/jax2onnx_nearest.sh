#!/usr/bin/env bash
# jax2onnx: jax.image.resize with "nearest", exported to ONNX, takes other pixels unless it enlarges by a whole number.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 jax2onnx==0.17.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
JAX_PLATFORMS=cpu venv/bin/python -I - <<'PY'
import importlib.metadata

import jax
import numpy as np
import onnxruntime
from jax2onnx import to_onnx

for package in ("jax", "jax2onnx", "onnxruntime"):
    print("version:", package, importlib.metadata.version(package))
labels = np.arange(16, dtype=np.float32).reshape(4, 4)

print("guess: the exported program gives what the JAX function gives, or the export is refused")
equal = {}
for size in (8, 2, 6):

    def resize(x, size=size):
        return jax.image.resize(x, (size, size), "nearest")

    model = to_onnx(resize, [jax.ShapeDtypeStruct(labels.shape, labels.dtype)])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (exported,) = session.run(None, {session.get_inputs()[0].name: labels})
    plain = np.asarray(resize(labels))
    equal[size] = np.array_equal(exported, plain)
    print(f"seen: 4 x 4 to {size} x {size}: first row {plain[0].tolist()} in JAX, {exported[0].tolist()} in ONNX")
if equal != {8: True, 2: False, 6: False}:
    raise SystemExit(f"changed: equal by size {equal}")
PY
