#!/usr/bin/env bash
# JAX on a CPU: the bits of a product depend on the number of cores, also without multi-threaded Eigen; $NPROC sets the number.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
JAX_PLATFORMS=cpu venv/bin/python -I - <<'PY'
import os
import subprocess
import sys

import jax

print("version: jax", jax.__version__)
if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
    raise SystemExit("needs Linux and two cores")
CODE = """
import hashlib, os, sys
if sys.argv[1] == "1":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
else:
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))
import jax, numpy as np
rng = np.random.default_rng(0)
x, g = (rng.normal(size=(16384, n)).astype(np.float32) for n in (144, 16))
print(hashlib.sha256(np.asarray(jax.jit(lambda x, g: x.T @ g)(x, g)).tobytes()).hexdigest()[:8])
"""


def bits(cores, **variables):
    """Returns the start of the sha256 of x.T @ g in a process that may use that many cores."""
    env = {name: value for name, value in os.environ.items() if name not in ("NPROC", "XLA_FLAGS")} | variables
    return subprocess.run(
        [sys.executable, "-I", "-c", CODE, str(cores)], env=env, capture_output=True, text=True, check=True
    ).stdout.strip()


print("guess: with --xla_cpu_multi_thread_eigen=false the bits do not depend on the number of cores")
off = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
one, two = bits(1), bits(2)
single = bits(1, **off), bits(2, **off)
nproc = bits(1, NPROC="2"), bits(2, NPROC="1")
print(f"seen: x.T @ g has the bits {one} on one core and {two} on two; with the flag {single[0]} and {single[1]}")
print(f"seen: with NPROC=2 one core gives {nproc[0]}, with NPROC=1 two cores give {nproc[1]}")
if one == two or single != (one, two) or nproc != (two, one):
    raise SystemExit("changed: the bits no longer follow the number of cores, or $NPROC no longer replaces it")
PY
