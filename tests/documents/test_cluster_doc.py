"""docs/cluster.md: its flags and configs exist, its shell can be read, and the status it waits for is that of a stopped run."""

import math
import re
import subprocess

import yaml
from helpers import documents
from helpers.documents import ROOT

from unet_jax.programs import train

TEXT = (ROOT / "docs" / "cluster.md").read_text()
SHELL = documents.blocks(TEXT, "sh")
COMMANDS = [line.partition("run_train.py")[2] for line in "".join(SHELL).replace("\\\n", "").splitlines()]


def test_its_flags_and_configs_exist():
    defined = {*train.FLAGS, "config.seed"}
    commands = [re.findall(r"--([\w.]+)=?(\S*)", command) for command in COMMANDS if command]
    assert len(commands) == 4
    for name, value in (flag for command in commands for flag in command):
        assert name in defined
        assert name != "config" or (ROOT / value).is_file()


def test_its_shell_can_be_read():
    assert len(SHELL) == 4
    for block in SHELL:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True, timeout=20)


def test_its_manifest_can_be_read():
    manifest, gpu, tpu = map(yaml.safe_load, documents.blocks(TEXT, "yaml"))
    assert manifest["kind"] == "JobSet"
    (job,) = manifest["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    assert spec["completions"] == spec["parallelism"]
    (container,) = spec["template"]["spec"]["containers"]
    volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert container["command"][:3] == ["python", "run_train.py", "--multiprocess"]
    chips = math.prod(map(int, tpu["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")))
    assert chips == 4 * spec["completions"]  # of its machines, each with four
    assert "nodeSelector" in gpu


def test_a_stopped_run_is_requeued_and_no_other():
    [status] = re.findall(r'"\$status" -eq (\d+)', TEXT)
    assert f"sys.exit({status})" in (ROOT / "unet_jax/programs/train.py").read_text()
