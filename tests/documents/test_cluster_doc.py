"""docs/how-to/cluster.md: its manifest can be read, and the status that it waits for is that of a stopped run."""

import math
import re

import yaml
from helpers import documents
from helpers.documents import DOCS, ROOT

PAGE = DOCS / "how-to" / "cluster.md"


def test_its_manifest_can_be_read():
    texts = [block.text for block in documents.blocks(PAGE) if block.language == "yaml"]
    manifest, gpu, tpu = map(yaml.safe_load, texts)
    assert manifest["kind"] == "JobSet"
    (job,) = manifest["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    assert spec["completions"] == spec["parallelism"]
    (container,) = spec["template"]["spec"]["containers"]
    volumes = {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert container["command"][:3] == ["unet-jax", "train", "--multiprocess"]
    chips = math.prod(map(int, tpu["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")))
    # Of its machines, each with four.
    assert chips == 4 * spec["completions"]
    assert "nodeSelector" in gpu


def test_a_stopped_run_is_requeued_and_no_other():
    [status] = re.findall(r'"\$status" -eq (\d+)', PAGE.read_text())
    assert f"sys.exit({status})" in (ROOT / "unet_jax" / "programs" / "train.py").read_text()
