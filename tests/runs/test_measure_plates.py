"""Plates of image files: the tables, the verdict, and the scores against true masks."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.known_network import predictor
from PIL import Image

from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError
from unet_jax.measurement.pixel_size import PixelSize
from unet_jax.runs import measure_plates
from unet_jax.runs.measure_plates import PlateOptions


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """A stack of two anodes around a cathode, as an image and as a mask, and a network that finds it."""
    ids = np.zeros((30, 40), np.uint8)
    for top, last, kind in ((4, 30, 1), (11, 20, 2), (18, 24, 1)):
        ids[top : top + 4, :last] = kind
    for name, array in (("images", 100 * ids), ("masks", ids)):
        (tmp_path / name).mkdir()
        Image.fromarray(array).save(tmp_path / name / "x.png")
    run = SimpleNamespace(config=SimpleNamespace(eval=SimpleNamespace(batch_size=2)))
    opened = SimpleNamespace(
        segmenter=predictor(), runs=(run,), models=(), describe=lambda: "a network", reading=Reading()
    )
    monkeypatch.setattr(measure_plates, "open_for_folder", lambda *_, **__: (opened, {"step": 3}))
    return tmp_path


def measure(scans, out="out", truth="", models=("net",), images=True, **options):
    given = [scans / "images"] if images else ()
    measure_plates.measure_plates(models, given, truth, scans / out, options=PlateOptions(**options))
    return scans / out


def test_a_row_for_each_plate_and_each_image(scans, monkeypatch):
    monkeypatch.setattr(measure_plates, "read_factor", lambda *_: 2.0)
    out = measure(scans, min_overhang=0.3, pixel=PixelSize(0.05, "mm"))
    first, second, third = table(out / "plates.csv")
    assert [row["class"] for row in (first, second, third)] == ["anode", "cathode", "anode"]
    assert float(first["overhang_next"]) == pytest.approx(10, abs=0.01)
    assert float(first["overhang_next_mm"]) == pytest.approx(0.5, abs=0.001)
    assert float(third["overhang_previous"]) == pytest.approx(4, abs=0.01)
    assert (first["overhang_previous"], second["overhang_next"]) == ("", "")
    width = float(first["overhang_next_high"]) - float(first["overhang_next_low"])
    # Each end falls within one pixel: half a column from three quarters to a quarter.
    assert width == pytest.approx(2 * 2 * np.hypot(0.5, 0.5), rel=0.01)
    (cell,) = table(out / "cells.csv")
    assert (cell["num_anode"], cell["num_cathode"], cell["verdict"]) == ("2", "1", "NG")
    assert cell["reason"].startswith("plate 3 over 2: 0.2")
    # Another limit needs no new measurement.
    measure(scans, min_overhang=0.1, pixel=PixelSize(0.05, "mm"))
    assert table(out / "cells.csv")[0]["verdict"] == "OK"


def test_true_masks_alone_and_scores(scans, capsys):
    truth = measure(scans, "alone", truth=scans / "masks", models=(), images=False, anode="class_1", cathode="class_2")
    assert [row["class"] for row in table(truth / "plates.csv")] == ["class_1", "class_2", "class_1"]
    out = measure(scans, truth=scans / "masks")
    scores = {row["score"]: row["value"] for row in table(out / "plate_scores.csv")}
    assert (float(scores["PN-ACC"]), float(scores["overhang/sign"])) == (1, 1)
    assert float(scores["tip/mean"]) < 0.01
    assert "PN-ACC" in capsys.readouterr().out


def test_what_is_refused(scans):
    with pytest.raises(UserError, match="--cathode=x: there is no such class"):
        measure(scans, cathode="x")
    with pytest.raises(UserError, match=r"--min_overhang=3: no class of class_1 is that of the cathodes"):
        measure_plates.PlateOptions(anode="class_1", min_overhang=3).roles(("class_1",))
    assert not (scans / "out").exists()


def test_files_of_another_origin_stay(scans):
    for place, name in (("a", "plates.csv"), ("b", "plate_scores.csv")):
        (scans / place).mkdir()
        (scans / place / name).write_text("mine")
        with pytest.raises(UserError, match=rf"{name} exists, and no prediction\.json says how it was made"):
            measure(scans, place)
        assert (scans / place / name).read_text() == "mine"


def test_scores_go_with_the_results_that_they_are_of(scans):
    out = measure(scans, truth=scans / "masks")
    assert (out / "plate_scores.csv").exists()
    (out / "plates" / "x.csv").unlink()
    measure(scans)
    assert not (out / "plate_scores.csv").exists()
