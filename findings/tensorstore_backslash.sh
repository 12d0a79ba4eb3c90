#!/usr/bin/env bash
# TensorStore: on Linux a backslash in the path of a folder is taken for a slash, so the array lies in another folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check tensorstore==0.1.86 numpy==2.4.6 ml_dtypes==0.6.0
venv/bin/python -I - <<'PY'
import importlib.metadata
import pathlib

import tensorstore as ts

print("version: tensorstore", importlib.metadata.version("tensorstore"))
top = pathlib.Path().absolute()
folder = top / "left\\right"
folder.mkdir()

print(f"guess: an array that is written into the folder {folder.name!r} lies there")
store = ts.KvStore.open({"driver": "file", "path": f"{folder}/"}).result()
store.write("value", b"1").result()
there = sorted(str(path.relative_to(top)) for path in top.rglob("value"))
print(f"seen: the folder {folder.name!r} holds {[path.name for path in folder.iterdir()]}; the value is in {there}")
if there != ["left/right/value"]:
    raise SystemExit("changed: a backslash is no longer taken for a slash")
PY
