#!/usr/bin/env bash
# Orbax: an empty folder with a number for its name is the latest checkpoint, and no smaller step is saved any more.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check orbax-checkpoint==0.12.8 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu venv/bin/python -I - <<'PY'
import pathlib

import numpy as np
import orbax.checkpoint as ocp

print("version: orbax-checkpoint", ocp.__version__)
folder = pathlib.Path("checkpoints").absolute()
tree = {"kernel": np.float32([1, 2])}
with ocp.CheckpointManager(folder) as manager:
    manager.save(3, args=ocp.args.StandardSave(tree))
(folder / "999").mkdir()
with ocp.CheckpointManager(folder) as manager:
    latest = manager.latest_step()
    saved = manager.save(4, args=ocp.args.StandardSave(tree))
    manager.wait_until_finished()

names = sorted(path.name for path in folder.iterdir())
print("made: the checkpoint of step 3, and an empty folder 999")
print("guess: the latest step is 3, and step 4 is saved, or the empty folder is an error")
print(f"seen:  the latest step is {latest}; save(4) returned {saved} without an error; the folder holds {names}")
if (latest, saved) != (999, False) or "4" in names:
    raise SystemExit("changed: the empty folder no longer counts as the latest checkpoint")
PY
