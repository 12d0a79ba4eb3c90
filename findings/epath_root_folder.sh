#!/usr/bin/env bash
# etils.epath: the local folders /gs, /s3, /az and /hf, where disks may be mounted, are taken for buckets.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check etils==1.15.0 fsspec==2026.9.0 importlib_resources==6.5.2 zipp==4.1.2 typing_extensions==4.16.0
venv/bin/python -I - <<'PY'
import importlib.metadata
import os
import pathlib

from etils import epath

print("version: etils", importlib.metadata.version("etils"))
print("guess: epath.Path('/s3/scans') is the local folder /s3/scans, as pathlib.Path('/s3/scans') is")
rows = []
for text in ("/s3/scans", "/gs/scans", "/az/scans", "/hf/scans", "/mnt/scans"):
    rows.append((os.fspath(pathlib.Path(text)), os.fspath(epath.Path(text))))
    print(f"seen: {text}: pathlib gives {rows[-1][0]}, epath gives {rows[-1][1]}")
if [ours for _, ours in rows] != ["s3://scans", "gs://scans", "az://scans", "hf://scans", "/mnt/scans"]:
    raise SystemExit("changed: epath no longer takes these folders for buckets")
PY
