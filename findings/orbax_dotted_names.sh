#!/usr/bin/env bash
# Orbax: the leaf named "a.b" and the leaf b inside a are stored under one name, so one of the two is lost.
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
tree = {"conv.kernel": np.float32([1, 1]), "conv": {"kernel": np.float32([2, 2])}}
with ocp.StandardCheckpointer() as checkpointer:
    checkpointer.save(pathlib.Path("saved").absolute(), tree)
    checkpointer.wait_until_finished()
    restored = checkpointer.restore(pathlib.Path("saved").absolute(), tree)

print("guess: both leaves come back, or the save is refused")
print("saved:", tree)
print("seen:  restored without an error or a warning:", restored)
values = restored["conv.kernel"].tolist(), restored["conv"]["kernel"].tolist()
if values[0] != values[1]:
    raise SystemExit(f"changed: the two leaves differ after the restore, {values}")
PY
