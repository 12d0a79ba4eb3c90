"""Two processes of one job: one prepares while the other waits, also if the first fails."""

import hashlib
import os
import socket
import subprocess
import sys

import cv2
import numpy as np
import pytest

PROGRAM = """
import hashlib, sys, time
import jax
index, port, shared, local = sys.argv[1:]
jax.distributed.initialize(coordinator_address=f"127.0.0.1:{port}", num_processes=2, process_id=int(index))
from unet_jax import data
from unet_jax.data.datasets.electrodes.builder import Electrodes
from unet_jax.errors import UserError

# Process 0 is slow: the other would be first if it did not wait.
if index == "0":
    counts = Electrodes.counts
    Electrodes.counts = lambda self: time.sleep(0.5) or counts(self)

def show(what, cache_dir):
    print(what, "begins", file=sys.stderr, flush=True)
    try:
        dataset = data.load("electrodes", cache_dir=cache_dir, size=(32, 40), num_train=3, num_val=1, num_test=0)
        source = dataset.source("train")
        examples = [source[i]["image"].tobytes() + source[i]["mask"].tobytes() for i in range(len(source))]
        print(what, hashlib.sha256(b"".join(examples)).hexdigest(), flush=True)
    except UserError as error:
        print(what, error, flush=True)

show("shared", shared)
show("again", shared)
show("local", f"{local}{index}")
# A file, so nothing can be prepared there.
show("none", sys.executable)

from pathlib import Path
from unet_jax.data.datasets import from_files

surveys, survey_rows = [], from_files.survey_rows
from_files.survey_rows = lambda *args, **kept: surveys.append(1) or time.sleep(0.3 * (index == "0")) or survey_rows(*args, **kept)
for what, where in (("broken", shared), ("missing", shared), ("whole", shared), ("one", f"{local}{index}")):
    # For "one", each process reads its own folder, and that of process 0 is broken.
    name = ("broken", "whole")[int(index)] if what == "one" else what
    try:
        print(what, data.load("image_folder", root=str(Path(shared).with_name(name)), cache_dir=where).splits, flush=True)
    except UserError as error:
        print(what, error, flush=True)
print("surveys", len(surveys), flush=True)
"""


def write_folder(root):
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
        cv2.imwrite(str(root / name / "a.png"), np.eye(16, dtype=np.uint8))
    (root / "index.csv").write_text("id,split\na,train\n")


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Returns (stdout by first word, stderr) of each process."""
    root = tmp_path_factory.mktemp("job")
    write_folder(root / "whole"), write_folder(root / "broken")
    (root / "broken/masks/a.png").write_bytes(b"none")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    processes = []
    try:
        for index in range(2):
            command = [sys.executable, "-c", PROGRAM, str(index), port, str(root / "shared"), str(root / "local")]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            processes.append(subprocess.Popen(command, env=environment, **pipes))
        ended = [process.communicate(timeout=100) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], ended
    return [(dict(line.split(" ", 1) for line in out.splitlines() if line[:1].islower()), err) for out, err in ended]


def preparations(err):
    """Returns the number of preparations of each part of the program, by its name."""
    counts, part = {}, ""
    for line in err.splitlines():
        if line.endswith(" begins"):
            part = line.split()[0]
        counts[part] = counts.get(part, 0) + line.startswith("preparing the data set electrodes")
    return counts


@pytest.mark.slow
def test_one_prepares_and_both_read_the_same(job):
    (first, first_err), (second, second_err) = job
    assert {len(value) for value in (first["shared"], second["shared"])} == {hashlib.sha256().digest_size * 2}
    assert first["shared"] == second["shared"] == first["again"] == second["again"]
    assert [preparations(err)[part] for err in (first_err, second_err) for part in ("shared", "again")] == [1, 0, 0, 0]


def test_with_local_disks_each_prepares(job):
    (first, first_err), (second, second_err) = job
    assert first["local"] == second["local"] == first["shared"]
    assert [preparations(err)["local"] for err in (first_err, second_err)] == [1, 1]


def test_all_processes_get_the_error_and_none_waits_on(job):
    for out, _ in job:
        assert "data.cache_dir" in out["none"]


def test_one_process_checks_and_all_get_the_errors(job):
    (first, _), (second, _) = job
    for out in (first, second):
        assert "broken/masks/a.png: " in out["broken"]
        assert "missing" in out["missing"]
        assert out["whole"] == "{'train': 1}"
    # Only process 0 surveyed the folder "whole"; the other read the result from the cache. Both surveyed the rest.
    assert (first["surveys"], second["surveys"]) == ("3", "2")


def test_after_an_error_of_one_process_the_other_has_its_data(job):
    (first, _), (second, _) = job
    assert "broken/masks/a.png: " in first["one"]
    assert second["one"] == "{'train': 1}"
