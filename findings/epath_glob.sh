#!/usr/bin/env bash
# etils.epath: Path.glob also reads the name of the folder as a pattern; pathlib's reads only the argument as one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check etils==1.15.0 fsspec==2026.9.0 importlib_resources==6.5.2 zipp==4.1.2 typing_extensions==4.16.0
venv/bin/python -I - <<'PY'
import importlib.metadata
import pathlib

from etils import epath

print("version: etils", importlib.metadata.version("etils"))
pathlib.Path("plates [left]").mkdir()
pathlib.Path("plates [left]", "a.png").touch()
pathlib.Path("scan*").mkdir()
pathlib.Path("scans").mkdir()
pathlib.Path("scans", "b.png").touch()

print("guess: epath.Path(folder).glob('*.png') lists what pathlib.Path(folder).glob('*.png') lists")
rows = []
for name in ("plates [left]", "scan*"):
    plain = [str(path) for path in pathlib.Path(name).glob("*.png")]
    ours = [str(path) for path in epath.Path(name).glob("*.png")]
    rows.append((plain, ours))
    print(f"seen: in the folder {name!r} pathlib lists {plain}, epath lists {ours}")
if rows != [(["plates [left]/a.png"], []), ([], ["scans/b.png"])]:
    raise SystemExit("changed: epath's glob no longer misses the one file and finds the other")
PY
