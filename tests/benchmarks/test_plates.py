"""The scores of plates of several runs: as the evaluation has them, and which images are the worst."""

import json
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import evidence, members, plates, tables
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.measurement.plates.group import FactorGroup, PlateGroup, most_plates
from unet_jax.measurement.plates.roles import Roles
from unet_jax.runs.load import open_models

NAMES = ("background", "anode", "cathode")
ROLES = Roles("anode", "cathode")
BARS = ((4, 30, 1), (11, 20, 2), (18, 24, 1))


def seen(shifts=(0, 0, 0), missing=(), folded=False, name="x"):
    """Returns an image of three plates that are found `shifts` pixels too long, without the `missing` ones."""
    truth, found, instances = (np.zeros((30, 40), np.uint8) for _ in range(3))
    for number, ((top, end, kind), shift) in enumerate(zip(BARS, shifts, strict=True)):
        truth[top : top + 4, :end] = kind
        instances[top : top + 4, :end] = number + 1
        if number not in missing:
            found[top : top + 4, : end + shift] = kind
    ends = [{"kind": NAMES[k], "end_position": [end - 0.5, top + 1.5], "folded": folded} for top, end, k in BARS]
    example = {"image": (100 * truth)[..., None], "mask": truth, "instances": instances, "id": name}
    masks = np.eye(3, dtype=bool)[found]
    return plates.see(example | {"plates": json.dumps(ends)}, masks, masks, ROLES, NAMES)


def test_the_runs_differ_in_the_seed_alone():
    for data, (variant, minutes) in plates.RUNS.items():
        chosen = plates.rows_of(data)
        assert [row.seed for row in chosen] == [0, 1, 2]
        assert {(row.data, row.variant, row.minutes, row.train_fraction) for row in chosen} == {
            (data, variant, minutes, 1)
        }


def test_a_run_is_scored_as_calibrate_and_eval_do(trained):
    folder = Path(trained[0])
    dataset = members.open_data([folder])
    scored = plates.score([folder], dataset)
    segmenter = open_models([folder]).segmenter
    val, test = dataset.source("val"), dataset.source("test")
    names = segmenter.class_names
    fit = FactorGroup(ROLES, names, most_plates(val, ROLES, names))
    factor = evaluate(segmenter, val, batch_size=1, groups=[fit])[0]["factor"]
    assert scored.factor == pytest.approx(factor, rel=1e-3)
    group = PlateGroup(ROLES, names, most_plates(test, ROLES, names), factor)
    expected = evaluate(segmenter, test, batch_size=1, groups=[group])[0]
    summary = scored.summary(2)
    assert set(plates.TITLES) - summary.keys() <= {"interval/coverage", "interval/width"}
    for name, value in summary.items():
        assert value == pytest.approx(expected[f"plates/{name}"], rel=1e-3, nan_ok=True)


def test_the_worst_images_have_wrong_numbers_then_wrong_overhangs():
    first = [seen(name="a"), seen((0, 3, 0), name="b"), seen(missing=[2], name="c"), seen((1, 0, 0), name="d")]
    second = [seen(name="a"), seen((0, 1, 0), name="b"), seen(name="c"), seen((5, 0, 0), name="d")]
    found = plates.worst([plates.Scored(first), plates.Scored(second)])
    assert [(seed, image.example["id"]) for seed, image in found] == [(0, "c"), (1, "d"), (0, "b")]
    assert plates.describe(1, found[1][1], ROLES.plates) == (
        "Image d, seed 1: 2 anodes (true: 2) and 1 cathodes (true: 1) are found; tips are off by 0.0 px in the median, by 5.0 "
        "px at most; the worst overhang is 15.0 px (true: 10.0)."
    )
    # Without overhangs, the tips decide.
    alone = found[0][1].scores._replace(overhangs=[], matched=[2.0, 4.0])
    assert plates.Seen({}, found[0][1].found, [], alone, ROLES).largest == 4


def test_the_table_has_columns_for_images_without_a_folded_plate():
    runs = [
        plates.Scored([seen(), seen(missing=[1], folded=True)], factor=1.0),
        plates.Scored([seen(missing=[0]), seen(folded=True)], 1.0),
    ]
    truth = plates.Scored([seen(), seen(folded=True)])
    header, _, *lines = plates.scores_table(runs, truth, 2).splitlines()
    titles = header.strip("| ").split(" | ")
    assert titles[3:] == ["mean, 2 images", "1 without a folded plate", "true masks", "true masks, 1"]
    cells = {cells[0]: cells[1:] for line in lines if (cells := line.strip("| ").split(" | "))}
    exact = cells["PN-ACC, both numbers exact"]
    assert exact == ["0.500", "0.500", "0.500 ± 0.000", "0.500 ± 0.707", "1.000", "1.000"]
    assert cells["90 % intervals that hold the true overhang"][-2:] == ["-", "-"]
    # Other data do not say which plates are folded.
    plain = plates.scores_table(runs[:1], plates.Scored([seen()]), 1)
    assert "folded" not in plain
    assert "CN-ACC" not in plain


def test_tables_and_pictures_of_synthetic_images_go_into_the_page(tmp_path, monkeypatch):
    page = tmp_path / "results.md"
    marks = [f"plates-{part}{data}" for data in plates.RUNS for part in ("", "worst-", "intervals-", "counts-")]
    page.write_text("".join(f"<!-- {mark} -->\n<!-- /{mark} -->\n" for mark in marks))
    results = tables.Results(tmp_path / "results.csv")
    names = [row.name for data in plates.RUNS for row in plates.rows_of(data)]
    for name in names:
        (tmp_path / name).mkdir()
        results.update(name, **{"iou_pooled/mean": 0.9})
    monkeypatch.setattr(evidence, "RESULTS_PAGE", page)
    monkeypatch.setattr(evidence, "RESULTS", results.path)
    monkeypatch.setattr(evidence, "PICTURES", tmp_path / "images")
    dataset = types.SimpleNamespace(class_names=NAMES)
    monkeypatch.setattr(members, "open_data", lambda folders: dataset)
    scored = plates.Scored([seen((4, 0, 0), name="a")], 2.0)
    calls = []
    monkeypatch.setattr(plates, "score", lambda *given: calls.append(given) or scored)
    monkeypatch.setattr(plates, "score_truth", lambda *_: plates.Scored([seen()]))
    monkeypatch.setattr(plates, "counts_table", lambda folders: f"counts of {len(folders)}")
    assert evidence.write_plates(results, tmp_path) == []
    text = page.read_text()
    assert "\n- Image a, seed 0: 2 anodes (true: 2)" in text
    assert "with the tips of both](../images/electrodes_plates_worst1.png)\n\nImage a, seed 0" in text
    # 2 x 2.0 x the scale of two ends that fall within a pixel; one of two overhangs is wrong by 4 px.
    assert text.count("counts of 3") == 1
    assert "| 3 networks | 2.000 | 0.500 | 2.828 | 2.000 |" in text
    together = [given for given in calls if len(given[0]) == 3]
    assert [len(given[0]) for given in calls if given[2:] == ("flips",)] == [1] * 6
    assert len(together) == 2
    # Real images are not shown.
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["electrodes_plates_worst1.png"]
    picture = np.asarray(Image.open(tmp_path / "images" / "electrodes_plates_worst1.png").convert("RGB"))
    for colour in plates.COLOURS:
        rgb = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        assert (abs(picture.astype(int) - rgb).max(-1) < 10).sum() > 200
    # The same command again gives the same page.
    evidence.write_plates(results, tmp_path)
    assert page.read_text() == text


def test_the_numbers_are_counted_by_the_plate_that_shows_least(trained, monkeypatch):
    assert seen().least == 80
    small = seen()
    small.example["instances"][:, 10:][small.example["instances"][:, 10:] == 2] = 0
    assert small.least == 40
    runs = [
        [seen(), small, seen(missing=[0]), seen(folded=True)],
        [seen(missing=[1]), small, seen(), seen(folded=True)],
    ]
    monkeypatch.setattr(plates, "see_all", lambda *_: runs.pop(0))
    monkeypatch.setattr(plates, "NUM_FRESH", 4)
    _, _, *lines = plates.counts_table([Path(trained[0])] * 2).splitlines()
    cells = [line.strip("| ").split(" | ")[1:] for line in lines]
    assert cells == [["0", "-"], ["1", "1.000 ± 0.000"], ["2", "0.500 ± 0.000"], ["3", "0.667 ± 0.000"]]


def test_true_masks_are_scored_as_a_perfect_network():
    example = dict(seen().example)
    dataset = types.SimpleNamespace(splits=("val",), class_names=NAMES, source=lambda split: [example])
    (image,) = plates.score_truth(dataset, ROLES).images
    assert (image.num_wrong, image.scores.num_found) == (0, (2, 1))
    assert image.largest < 0.01


def test_the_page_has_a_place_for_each_table():
    content = evidence.RESULTS_PAGE.read_text()
    for data in plates.RUNS:
        for mark in (f"plates-{data}", f"plates-worst-{data}"):
            assert f"<!-- {mark} -->" in content
            assert f"<!-- /{mark} -->" in content
