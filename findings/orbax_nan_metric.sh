#!/usr/bin/env bash
# Orbax: after one NaN among the metrics, CheckpointManager deletes the best checkpoint and calls another the best.
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


def run(scores):
    """Saves a checkpoint for each score; returns the best step and the steps that are left."""
    path = pathlib.Path(f"run{len(list(pathlib.Path().glob('run*')))}").absolute()
    options = ocp.CheckpointManagerOptions(max_to_keep=2, best_fn=lambda metrics: metrics["iou"], best_mode="max")
    with ocp.CheckpointManager(path, options=options) as manager:
        for step, score in enumerate(scores):
            manager.save(step, args=ocp.args.StandardSave({"w": np.zeros(2)}), metrics={"iou": score})
            manager.wait_until_finished()
        return manager.best_step(), list(manager.all_steps())


nan = float("nan")
print("guess: with max_to_keep=2 and best_mode='max' the step of 0.9 is kept and is the best, with a NaN as without one")
results = {}
for scores in ([0.5, 0.9, 0.6, 0.6, 0.7], [0.5, 0.9, nan, 0.6, 0.7]):
    best, steps = run(scores)
    results[str(scores)] = best
    print(f"seen: scores {scores}: best step {best} of {scores[best]}, steps left {steps}")
if list(results.values()) != [1, 4]:
    raise SystemExit("changed: a NaN no longer changes which step is the best")
PY
