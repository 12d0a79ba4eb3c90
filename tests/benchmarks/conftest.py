"""The rows of the results, run with fake programs."""

import json
from pathlib import Path

import pytest

from benchmarks import evidence, rows, tables

SCORES = {"iou_pooled/background": 0.99, "iou_pooled/anode": 0.9, "iou_pooled/cathode": 0.92}
SCORES |= {"iou_pooled/mean": 0.91, "iou_image/mean": 0.88}


class FakePrograms:
    """Replaces the programs: writes what they would write, and remembers the commands.

    Args:
      fails: the row whose training fails.
      split: the split that a training scores.
      slower: how many times slower the machine is than in another test.
    """

    stopping = False

    def __init__(self, fails="", split="test", slower=1.0):
        self.commands, self.fails, self.split, self.slower = [], fails, split, slower

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, program, *arguments):
        self.commands.append([program, *map(str, arguments)])
        values = dict(argument.removeprefix("--").split("=", 1) for argument in self.commands[-1][1:])
        if program.endswith("step_seconds.py"):
            seconds = {"unet": 0.25, "unet_pp_one_head": 0.4, "unet_pp": 0.5}
            measured = {
                name: {"seconds_per_step": self.slower * seconds.get(name, 1.0), "parameters": 1000}
                for name in rows.EXPERIMENTS[values["data"]]
            }
            Path(values["out"]).write_text(json.dumps(measured))
            return 0
        run = Path(values["workdir"])
        if run.name == self.fails:
            return 2
        split = values.get("split", self.split)
        (run / "eval").mkdir(parents=True, exist_ok=True)
        shift = 0.01 * int(values.get("config.seed", 0))
        summary = {name: value + shift for name, value in SCORES.items()}
        (run / "eval" / f"{split}.json").write_text(json.dumps({"step": 7, "summary": summary}))
        (run / "versions.json").write_text(json.dumps({"starts": [{"device_kind": "cpu"}]}))
        lines = [{"step": step, "split": "train", "step_s": 0.5} for step in (20, 120, 240)] + [
            {"step": 240, "split": "val"}
        ]
        (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
        return 0


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Returns a function that runs the rows that match a pattern with fake programs.

    It returns the names of the rows that are not done, the results, and the commands.
    """

    def run(pattern="electrodes-*", **fake):
        programs = FakePrograms(**fake)
        monkeypatch.setattr(evidence, "Programs", lambda: programs)
        results = tables.Results(tmp_path / "results.csv")
        not_done = evidence.run_all(rows.select(pattern), rows.select(), results, tmp_path / "runs", {"em": "DATA"})
        return not_done, tables.Results(tmp_path / "results.csv"), programs.commands

    return run
