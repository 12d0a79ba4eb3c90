"""The timing of a step against a peer: what is compared, what is printed, and the error for a bad peer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import levels, turns
from unet_jax.errors import UserError

ROOT = Path(__file__).parents[2]
PEER = """
import json, sys
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
print("warming up")
print(json.dumps({"median_s": 0.5, **arguments}))
"""


def call(*arguments):
    command = [
        sys.executable,
        ROOT / "benchmarks/step.py",
        "--model=unet_pp",
        "--mode=predict",
        "--level=1",
        "--size=16",
    ]
    command += ["--rounds=2", "--repeats=1", *arguments]
    env = os.environ | {"XLA_FLAGS": "", "PYTHONWARNINGS": ""}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_ends_with_a_line_of_json_that_has_the_ratio(tmp_path):
    peer = tmp_path / "peer.py"
    peer.write_text(PEER)
    done = call("--json", f"--peer={sys.executable} {peer}")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["peer_s"] == 0.5
    assert len(result["ratios"]) == 2
    assert result["ratio"] == pytest.approx(result["project_s"] / 0.5, rel=0.5)
    assert result["gflop"] > 0
    assert 0 < result["matmul_utilization"] < 2
    assert {"compile_s", "peak_memory_gb", "temporary_gb"} <= set(result)
    assert done.stdout.count("round ") == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("print('done')", "median_s"),
        ("print('{}')", "median_s"),
        ("raise SystemExit('no such layer')", "status 1.*no such layer"),
    ],
)
def test_a_bad_peer_is_an_error_of_one_line(tmp_path, source, message):
    (tmp_path / "peer.py").write_text(source)

    peer = f"{sys.executable} {tmp_path / 'peer.py'}"
    with pytest.raises(UserError, match=message):
        turns.run_peer(peer, {"model": "unet"})
    with pytest.raises(UserError, match="--peer="):
        turns.run_peer("/no/such/program", {})


def test_ratios_are_those_of_a_round_and_their_median_counts():
    rounds = [{"project_s": p, "peer_s": q} for p, q in ((1.0, 1.0), (4.0, 2.0), (3.0, 1.0))]
    result = turns.compare(rounds)
    assert result["ratios"] == [1, 2, 3]
    assert result["ratio"] == 2
    assert (result["project_s"], result["peer_s"]) == (3.0, 1.0)
    assert "ratio" not in turns.compare([{"project_s": 1.0, "peer_s": None}])


def test_levels_are_compared_with_the_deepest():
    table = levels.table({1: 0.1, 4: 0.4}, {1: 1.0, 4: 8.0}).splitlines()
    assert table[1].split() == ["L1", "0.1000", "1.00", "4.00x", "8.00x", "0.50"]
    assert table[2].split() == ["L4", "0.4000", "8.00", "1.00x", "1.00x", "1.00"]
