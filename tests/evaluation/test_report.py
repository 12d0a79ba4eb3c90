"""Table, JSON, pictures and curves."""

import json
import re
import urllib.parse

import numpy as np
import pytest
from PIL import Image

from unet_jax.evaluation import metrics, report
from unet_jax.inference.outputs import MaskFolder, file_name
from unet_jax.plotting import drawing, panels
from unet_jax.tracking import curves

NAMES = ("background", "anode", "cathode")


@pytest.fixture
def summary():
    counts = {"tp": [[8, 3, 0], [0, 3, 0]], "fp": [[0, 1, 0], [0, 0, 0]], "fn": [[1, 0, 0], [0, 3, 0]]}
    counts |= {"correct": [11, 3], "total": [12, 6]}
    return metrics.summarize(counts, NAMES)


def test_the_table_shows_a_dash_for_an_absent_class(summary):
    lines = report.table(summary, NAMES).splitlines()
    cells = {line.split("  ")[0].strip(): line.split()[-4:] for line in lines[2:-1]}
    assert cells["anode"] == ["0.6000", "0.7500", "0.6250", "0.7619"]
    assert cells["cathode"] == ["-"] * 4
    # The mean is over the classes that are present.
    assert cells["mean of anode, cathode"] == cells["anode"]
    assert lines[-1] == "pixel accuracy 0.7778"
    assert len({len(line) for line in lines[:-1]}) == 1
    counted = report.table(summary | {"num_images": 2, "num_compiles": 1, "images_per_s": 4.0}, NAMES)
    assert counted.endswith("2 images, 4.0 images/s, sizes compiled: 1")


def test_json_is_strict_and_complete(summary, tmp_path):
    path = tmp_path / "eval" / "val.json"
    report.write_json(
        path, summary, [{"id": "a", "iou/anode": np.float64(0.5), "iou/cathode": float("nan")}], step=7, split="val"
    )
    read = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert (read["step"], read["split"]) == (7, "val")
    assert read["images"] == [{"id": "a", "iou/anode": 0.5, "iou/cathode": None}]
    assert read["summary"]["iou_pooled/cathode"] is None
    assert read["summary"]["iou_pooled/anode"] == pytest.approx(0.6)
    assert [p.name for p in path.parent.iterdir()] == ["val.json"]


# Pictures


def test_kinds_of_outcomes():
    anode, cathode, both, none = [1, 0], [0, 1], [1, 1], [0, 0]
    # Truth, prediction, and the outcome.
    cases = [
        (anode, anode, ["right"]),
        (anode, none, ["missed"]),
        (none, cathode, ["extra"]),
        (anode, cathode, ["wrong class"]),
        (none, none, []),
        (both, anode, ["missed"]),
        (anode, both, ["extra"]),
        # Void.
        (none, anode, []),
    ]
    truth, masks = (np.array([[case[i] for case in cases]], bool) for i in (0, 1))
    valid = np.array([[True] * (len(cases) - 1) + [False]])
    outcomes = panels.outcome_masks(truth, masks, valid)[0]
    names = list(panels.OUTCOMES)
    assert [[names[k] for k in np.flatnonzero(pixel)] for pixel in outcomes] == [case[2] for case in cases]


@pytest.mark.parametrize("size", [(10, 30), (30, 20), (900, 1000)])
def test_panels_and_pictures_of_any_size(size):
    rng = np.random.default_rng(0)
    image, masks = rng.integers(0, 60000, (*size, 1)).astype(np.uint16), rng.random((*size, 2)) < 0.5
    colours = drawing.class_colours(NAMES)[1:]
    picture = drawing.draw_prediction(image, masks, NAMES[1:], colours)
    assert picture.shape[0] >= size[0]
    assert picture.shape[1] >= size[1]
    drawn = panels.panels(image, masks, ~masks, rng.random(size) < 0.9, NAMES[1:], colours, "caption")
    assert drawn.dtype == np.uint8
    assert max(drawn.shape) < 2500


class Trained:
    """Has the attributes of a predictor that a folder of masks reads."""

    activation, class_names, report_classes, report_channels = "softmax", NAMES, NAMES[1:], [1, 2]


def predicted(source, out_dir):
    """Writes the folder of masks of a network for which the pixels of an image are its class ids."""
    masks = MaskFolder(Trained, out_dir)
    for example in source:
        ids = example["image"][..., 0]
        masks.write(file_name(example["id"]), np.eye(3, dtype=bool)[ids], ids)
    return masks


def test_overlays_of_a_split(tmp_path):
    mask = np.zeros((12, 16), np.uint8)
    mask[2:6, 2:14] = 1
    mask[0, 0] = 255
    image = np.where(mask == 1, 1, 0).astype(np.uint8)[..., None]
    source = [{"image": image, "mask": mask, "id": f"cell {i}/a", "group": ""} for i in range(9)]
    rows = [{"index": i, "id": example["id"], "iou/mean": float("nan")} for i, example in enumerate(source)]
    masks = predicted(source, tmp_path / "masks")
    # The folder may be given as text.
    written = report.save_pictures(masks, source, rows, str(tmp_path), limit=3)
    assert "cell 4/a" in (tmp_path / "index.html").read_text()
    assert [path.name for path in written] == ["cell 0%2Fa.png", "cell 4%2Fa.png", "cell 8%2Fa.png"]
    assert all(path.parent == tmp_path / "overlays" for path in written)
    with Image.open(written[0]) as picture:
        colours = {tuple(map(int, c)) for c in np.unique(np.asarray(picture).reshape(-1, 3), axis=0)}
    # The anode's outline.
    assert drawing.FOREGROUND[0] in colours
    # The cathode in the legend.
    assert drawing.FOREGROUND[1] in colours
    assert len(report.save_pictures(masks, source, rows, tmp_path / "all", limit=0)) == 9


def test_overlays_are_spread_over_the_split():
    assert report.spread_indices(9, 3) == [0, 4, 8]
    assert report.spread_indices(9, 1) == [0]
    assert report.spread_indices(3, 16) == report.spread_indices(3, 0) == [0, 1, 2]


def test_best_median_and_worst_image(tmp_path):
    truth, source = np.zeros((8, 10), np.uint8), []
    truth[2:6, 2:8] = 1
    # Rows of the anode that the prediction lacks.
    for missed in (3, 0, 2, 1, 4):
        image = truth.copy()
        image[2 : 2 + missed] = 0
        source.append({"image": image[..., None], "mask": truth, "id": f"missed {missed}", "group": ""})
    # The last one has nothing present.
    ious = (0.25, 1.0, 0.5, 0.75, float("nan"))
    rows = [{"index": i, "id": source[i]["id"], "iou/mean": iou} for i, iou in enumerate(ious)]
    assert report.ranked_indices(rows) == {"best": 1, "median": 2, "worst": 0}
    masks = predicted(source, tmp_path / "masks")
    written = report.save_pictures(masks, source, rows, tmp_path, limit=0)
    assert len(written) == 5 + 3
    for rank, name in (("best", "missed 0"), ("median", "missed 2"), ("worst", "missed 3")):
        assert (tmp_path / f"{rank}.png").read_bytes() == (tmp_path / f"overlays/{name}.png").read_bytes()
    assert report.ranked_indices(rows[-1:]) == {}
    page = (tmp_path / "index.html").read_text()
    shown = re.findall(r'src="overlays/missed%20(\d)\.png"', page)
    assert shown == ["3", "2", "1", "0", "4"]  # from the worst on; the last one has no score
    assert "missed 3: mean IoU 0.2500" in page


def test_the_page_shows_the_worst_image_even_without_an_overlay(tmp_path):
    mask = np.ones((8, 10), np.uint8)
    source = [{"image": mask[..., None], "mask": mask, "id": f"cell {i}/a", "group": ""} for i in range(3)]
    rows = [{"index": i, "id": source[i]["id"], "iou/mean": iou} for i, iou in enumerate((0.5, 0.25, 1.0))]
    report.save_pictures(predicted(source, tmp_path / "masks"), source, rows, tmp_path, limit=1)
    page = (tmp_path / "index.html").read_text()
    pictures = re.findall(r'src="([^"]*)"', page)
    assert pictures == ["worst.png", "overlays/cell%200%252Fa.png", "best.png"]
    for picture in pictures:
        assert (tmp_path / urllib.parse.unquote(picture)).exists()


# Curves


def test_curves_of_a_run_that_was_resumed(tmp_path):
    rows = [{"step": s, "split": "train", "loss": 100 / s, "learning_rate": 1e-3 / s} for s in (10, 20, 20, 30, 4000)]
    rows += [
        {"step": 20, "split": "val", "loss": None, "iou_pooled/mean": 0.7},
        {"step": 30, "split": "val", "iou_pooled/mean": 0.8},
    ]
    series = curves._series(rows)
    assert sorted(series["train"]) == [10, 20, 30, 4000]
    assert series["val"][30]["iou_pooled/mean"] == 0.8
    assert curves.draw_curves(rows, tmp_path / "curves.png") == tmp_path / "curves.png"
    with Image.open(tmp_path / "curves.png") as picture:
        assert min(picture.size) > 400
