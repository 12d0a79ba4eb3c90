"""The classes of plates that are given to an evaluation, to a calibration and to a measurement."""

import copy
import json
import shutil

import numpy as np
import pytest

from unet_jax.errors import UserError
from unet_jax.evaluation.choice import MetricChoice
from unet_jax.programs import calibrate, measure
from unet_jax.programs import eval as eval_
from unet_jax.runs import measure_plates, score
from unet_jax.runs.calibration import fit
from unet_jax.runs.calibration.plate_intervals import factor_groups

NAMES = ("background", "anode", "cathode")
SWAPPED = {"anode": "cathode", "cathode": "anode"}


def test_the_commands_take_the_same_flags(trained, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(score, "score_run", lambda *_, metrics, **__: taken.append(metrics.plate_classes))
    monkeypatch.setattr(fit, "calibrate", lambda *_, plate_classes, **__: taken.append(plate_classes))
    monkeypatch.setattr(measure_plates, "measure_plates", lambda *_, options, **__: taken.append(options))
    for program, of_program in (
        (eval_, ["--metrics=plates"]),
        (calibrate, []),
        (measure, ["--plates", f"--images={tmp_path}", f"--out={tmp_path}/out"]),
    ):
        values = copy.deepcopy(program.FLAGS)
        values(["x", f"--workdir={trained[0]}", "--anode=cathode", "--cathode=anode", *of_program])
        monkeypatch.setattr(program, "FLAGS", values)
        program.main()
    assert taken == [SWAPPED, SWAPPED, measure_plates.PlateOptions(**SWAPPED)]


def test_plates_are_scored_by_the_given_classes(trained, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained[0], workdir)
    with pytest.raises(UserError, match="--stack=rim: there is no such class"):
        fit.calibrate(workdir, plate_classes={"stack": "rim"})
    plain = score.score_run(workdir, metrics=MetricChoice(("plates",)))
    other = score.score_run(workdir, metrics=MetricChoice(("plates",), plate_classes=SWAPPED))
    assert plain["plates/AN-ACC"] != plain["plates/CN-ACC"]
    assert other["plates/AN-ACC"] == plain["plates/CN-ACC"]
    assert other["plates/CN-ACC"] == plain["plates/AN-ACC"]
    assert json.loads((workdir / "eval/test.json").read_text())["plate_classes"] == SWAPPED | {"stack": ""}


def test_classes_without_plates_are_refused():
    with pytest.raises(UserError, match="--stack=rim is for the scores of plates; add --metrics=plates"):
        MetricChoice(("pixels",), plate_classes={"anode": "", "stack": "rim"})
    with pytest.raises(UserError, match="--anode=rim: the data have no plates"):
        factor_groups([{"id": "x"}], NAMES, {"anode": "rim"})
    with pytest.raises(UserError, match="--anode=rim: there is no such class"):
        factor_groups([{"plates": "[]"}], NAMES, {"anode": "rim"})
    (group,) = factor_groups([{"plates": "[]", "mask": np.zeros((4, 4), np.uint8)}], NAMES, SWAPPED)
    assert (group.roles.anode, group.roles.cathode) == ("cathode", "anode")
