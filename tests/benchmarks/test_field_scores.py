"""The scores that the fields use: which images fit a temperature, the scores of a run, and the tables."""

import types
from pathlib import Path

import numpy as np
import pytest

from benchmarks import evidence, field_scores, members, tables
from unet_jax.evaluation.boundary_group import BoundaryGroup
from unet_jax.evaluation.calibration_group import CalibrationGroup, TemperatureGroup
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.evaluation.instance_group import InstanceGroup
from unet_jax.inference.temperature import Calibrated
from unet_jax.runs.load import open_models


def test_a_group_is_never_in_both_halves():
    groups = ["b", "a", "b", "c", "d", "d", "d", "b"]
    found = field_scores.halves(groups)
    # The largest groups in turn: b, d, a, c.
    assert found == [0, 0, 0, 1, 1, 1, 1, 0]


def test_a_run_is_scored_as_the_evaluation_does(trained, monkeypatch):
    monkeypatch.setattr(field_scores, "OF_OBJECTS", ("electrodes",))
    folder = Path(trained[0])
    dataset = members.open_data([folder])
    scored = field_scores.score(folder, dataset, "electrodes")
    segmenter = open_models([folder]).segmenter
    val, test = dataset.source("val"), dataset.source("test")
    fit = TemperatureGroup(segmenter.activation, len(segmenter.class_names), len(val))
    fitted = evaluate(segmenter, val, batch_size=1, groups=[fit])[0]["temperature"]
    assert scored.temperatures == [pytest.approx(fitted, rel=1e-4)]
    calibration = CalibrationGroup(segmenter.activation)
    others = [InstanceGroup(segmenter.class_names), BoundaryGroup(segmenter.class_names, segmenter.report_channels)]
    before, _ = evaluate(segmenter, test, batch_size=1, groups=[calibration, *others])
    after, _ = evaluate(Calibrated(segmenter, fitted), test, batch_size=1, groups=[calibration])
    for name in field_scores.CALIBRATION:
        assert scored.before[name] == pytest.approx(before[name], rel=1e-5)
        assert scored.after[name] == pytest.approx(after[name], rel=1e-3)
    for name, value in (scored.objects | scored.contours).items():
        assert value == pytest.approx(before[name], nan_ok=True)
    assert {"ap75_pooled/mean", "hd95_image/mean"} <= before.keys() & (scored.objects | scored.contours).keys()


def test_without_a_test_split_each_half_of_val_has_the_temperature_of_the_other(trained):
    folder = Path(trained[0])
    whole = members.open_data([folder])
    examples = [dict(whole.source("val")[index]) for index in range(3)]
    dataset = types.SimpleNamespace(splits=("train", "val"), source=lambda split: {"val": examples}[split])
    scored = field_scores.score(folder, dataset, "other")
    assert (scored.objects, scored.contours) == ({}, {})
    segmenter = open_models([folder]).segmenter
    images = field_scores.predict(segmenter, dataset, "val")
    first = field_scores.temperature([images[0], images[2]], segmenter.activation)
    second = field_scores.temperature([images[1]], segmenter.activation)
    assert scored.temperatures == [first, second]
    expected = field_scores.calibration_of(images, [second, first, second], segmenter.activation)
    assert scored.after == expected
    assert scored.before == field_scores.calibration_of(images, [1.0] * 3, segmenter.activation)
    assert scored.after != scored.before


def test_rows_have_the_mean_and_the_spread_of_the_runs():
    runs = [
        field_scores.Scored(
            temperatures,
            {"ece": ece, "brier": 0.2, "nll": 0.3},
            {"ece": 0.03, "brier": 0.1, "nll": 0.2},
            {},
            {"nsd_image/anode": ece, "nsd_image/cathode": 0.5, "nsd_image/mean": 0.4},
        )
        for temperatures, ece in (([1.5, 0.8], 0.02), ([1.1, 2.0], 0.04))
    ]
    assert field_scores.calibration_row("`x`", runs) == [
        "`x`",
        "0.80 to 2.00",
        "0.0300 ± 0.0141",
        "0.0300 ± 0.0000",
        *("0.2000 ± 0.0000", "0.1000 ± 0.0000", "0.3000 ± 0.0000", "0.2000 ± 0.0000"),
        "1 of 2",
    ]
    contours = [run.contours for run in runs]
    assert field_scores.class_rows("`x`", contours, ["nsd"], "image") == [
        ["`x`", "anode", "0.030 ± 0.014"],
        ["`x`", "cathode", "0.500 ± 0.000"],
    ]
    assert field_scores.class_rows("`x`", contours[:1], ["nsd"], "image")[0][2] == "0.020"


def test_tables_go_into_the_page(tmp_path, monkeypatch):
    page = tmp_path / "results.md"
    marks = ("calibration", "objects", "contours")
    page.write_text("".join(f"<!-- {mark} -->\n<!-- /{mark} -->\n" for mark in marks))
    results = tables.Results(tmp_path / "results.csv")
    for name in (row.name for row in members.rows_of("nuclei")):
        (tmp_path / name).mkdir()
        results.update(name, **{"iou_pooled/mean": 0.9})
    monkeypatch.setattr(evidence, "RESULTS_PAGE", page)
    monkeypatch.setattr(evidence, "RESULTS", results.path)
    monkeypatch.setattr(
        members, "open_data", lambda folders: types.SimpleNamespace(splits=("val",), source=lambda _: [0])
    )
    values = dict.fromkeys(field_scores.CALIBRATION, 0.1)
    objects = {f"{name}_pooled/nucleus": 0.5 for name in field_scores.OBJECTS}
    monkeypatch.setattr(field_scores, "score", lambda *_: field_scores.Scored([1.0], values, values, objects, {}))
    assert evidence.write_measured(results, tmp_path, field_scores.run_all) == ["electrodes", "battery_xray"]
    text = page.read_text()
    assert "| `nuclei`, val, 1 | nucleus | 0.500 ± 0.000 |" in text
    assert "| `nuclei`, val, 1 | 1.00 to 1.00 | 0.1000 ± 0.0000 |" in text
    assert "0 of 3 |" in text


def test_the_page_has_a_place_for_each_table():
    content = evidence.RESULTS_PAGE.read_text()
    for mark in ("calibration", "objects", "contours"):
        assert np.all([f"<!-- {end}{mark} -->" in content for end in ("", "/")])
