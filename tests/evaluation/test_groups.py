"""The groups of scores of an evaluation: the same as of each image by itself, whatever the batches and processes."""

import functools

import jax
import numpy as np
import pytest
import skimage.measure
from helpers.known_network import NAMES, examples, predictor
from helpers.own_table import own_table

from unet_jax.errors import UserError
from unet_jax.evaluation import boundary, calibration, centerlines, contours, instances, metrics
from unet_jax.evaluation.calibration_group import TemperatureGroup
from unet_jax.evaluation.choice import METRICS, MetricChoice
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.evaluation.groups import complete, create_groups
from unet_jax.evaluation.instance_group import InstanceGroup, by_class, connected_pieces


def with_instances(made):
    """Adds the connected pieces of anode and cathode as instances, and makes blobs of the noise."""
    for example in made:
        for name in ("seen", "mask"):
            example[name] = np.kron(example[name][::4, ::4], np.ones((4, 4), np.uint8))[: example["seen"].shape[0]]
            example[name] = example[name][:, : example["image"].shape[1]].astype(np.uint8)
        example["image"] = (100 * example["seen"]).astype(np.uint8)[..., None]
        known = np.where(example["mask"] == 255, 0, example["mask"])
        example["instances"] = skimage.measure.label(known, connectivity=2).astype(np.uint16)
    # Nothing is found in one image, and nothing is there in another.
    made[1]["image"][:] = 0
    made[1]["seen"][:] = 0
    for name in ("mask", "instances", "image", "seen"):
        made[2][name][:] = 0
    return made


def score(network, made, choice, **options):
    groups = create_groups(complete(choice, made), network)
    return evaluate(network, made, groups=groups, **options)


def test_objects_are_scored_by_class():
    made = with_instances(examples())
    summary, rows = score(predictor(), made, MetricChoice(), batch_size=4)
    for k, name in ((1, "anode"), (2, "cathode")):
        counted = []
        for example in made:
            true = np.where(example["mask"] == k, example["instances"], 0)
            found = connected_pieces(example["seen"] == k)
            counted.append(instances.counts(true, found, example["mask"] != 255))
        stacked = {count: np.stack([each[count] for each in counted]) for count in instances.COUNTS}
        expected = instances.summarize(stacked)
        for score_name, value in expected.items():
            assert summary[f"{score_name}/{name}"] == pytest.approx(value, nan_ok=True), score_name
        assert 0 < expected["pq_pooled"] < 1
        assert summary[f"num_true/{name}"] == stacked["num_true"].sum()
        assert summary[f"num_predicted/{name}"] == (stacked["tp"] + stacked["fp"])[:, 0].sum()
        per_image = instances.by_name(instances.scores(stacked))
        np.testing.assert_array_equal([row[f"pq/{name}"] for row in rows], per_image["pq"])
    both = [summary["pq_pooled/anode"], summary["pq_pooled/cathode"]]
    assert summary["pq_pooled/mean"] == pytest.approx(np.mean(both))
    # Nothing found is 0, nothing there is left out. No instance is background.
    assert rows[1]["ap/mean"] == 0
    assert np.isnan(rows[2]["ap/mean"])
    assert "pq_pooled/background" not in summary


def test_no_instance_is_background():
    ids, numbers = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint16)
    ids[1:3, 1:3], numbers[1:3, 1:3] = 1, 1
    # Drawn larger than its mask, and without one.
    ids[5, 5], numbers[4:8, 4:8], numbers[0, 7] = 1, 2, 3
    masks = ids[..., None] == np.arange(2)
    group = InstanceGroup(("background", "cell"))
    counts = {
        name: value[None] for name, value in group.count({"mask": ids, "instances": numbers}, masks, None).items()
    }
    summary = group.summarize(counts)
    assert {name: value for name, value in summary.items() if name.startswith(("num_", "recall_pooled"))} == {
        "num_true/cell": 2,
        "num_predicted/cell": 2,
        "recall_pooled/cell": 0.5,
        "recall_pooled/mean": 0.5,
    }


def test_an_instance_has_the_class_of_most_of_its_pixels():
    labels = np.array([[5, 5, 5, 0, 2, 2, 9]])
    truth = np.zeros((1, 7, 2), bool)
    truth[0, :2, 1], truth[0, 2, 0], truth[0, 4:6] = True, True, True
    of_class = by_class(labels, truth)
    # The first of several; one in no mask is left out.
    assert of_class[..., 0].tolist() == [[0, 0, 0, 0, 2, 2, 0]]
    assert of_class[..., 1].tolist() == [[5, 5, 5, 0, 0, 0, 0]]


def test_masks_with_borders_give_objects_that_touch():
    """Two instances share an edge; the network finds one column of border on each side."""
    mask = np.zeros((12, 16), np.uint8)
    mask[2:10, 2:14] = 1
    mask[2:10, 7:9] = 2
    halves = np.where(np.arange(16) < 8, 1, 2)
    example = {"mask": mask, "instances": np.where(mask > 0, halves, 0).astype(np.uint16), "id": "x", "group": ""}
    # A third instance has border and background, too: together with the border, most of its pixels are of the class.
    example["instances"][0, :5] = 3
    mask[0, :3] = 1, 2, 2
    example["image"] = (100 * mask)[..., None]
    example["image"][0] = 0
    summary, _ = evaluate(predictor(), [example], batch_size=1, groups=[InstanceGroup(NAMES, border_width=1.0)])
    assert (summary["num_true/anode"], summary["num_predicted/anode"]) == (3, 2)
    # Both halves grow back to the last pixel.
    assert summary["ap95_pooled/anode"] == pytest.approx(2 / 3)
    assert "pq_pooled/cathode" not in summary
    # Without the border, the pieces lack it.
    plain, _ = evaluate(predictor(), [example], batch_size=1, groups=[InstanceGroup(NAMES)])
    assert plain["ap95_pooled/anode"] == 0


def test_contours_are_scored_by_reported_class():
    made, size = with_instances(examples()), (0.5, 0.25)
    choice = MetricChoice(("boundary",), tolerance=0.5, pixel_size=size, unit="mm")
    summary, rows = score(predictor(), made, choice, batch_size=4)
    for k, name in ((1, "anode"), (2, "cathode")):
        ring, near, cl, hd95, assd = [], [], [], [], []
        for example in made:
            valid = example["mask"] != 255
            true, found = (example["mask"] == k) & valid, (example["seen"] == k) & valid
            d = boundary.distance(*valid.shape)
            ring.append(boundary.counts(*(boundary.inner_boundary(m[..., None], d) for m in (found, true))))
            distances = contours.measure(true, found, valid, size)
            near.append(contours.nsd_lengths(distances, 0.5))
            diagonal = contours.diagonal(*valid.shape, size)
            hd95.append(float(contours.finite(contours.hd95(distances), diagonal)))
            assd.append(float(contours.finite(contours.assd(distances), diagonal)))
            cl.append(centerlines.counts(true, found))
        near = np.array(near)
        pooled = {count: sum(each[count] for each in ring) for count in ring[0]}
        assert summary[f"boundary_iou_pooled/{name}"] == pytest.approx(metrics.ratios(pooled)["iou"][0])
        assert summary[f"nsd_pooled/{name}"] == pytest.approx(near[:, 0].sum() / near[:, 1].sum())
        skeletons = {count: sum(each[count] for each in cl) for count in centerlines.COUNTS}
        assert summary[f"cldice_pooled/{name}"] == pytest.approx(float(centerlines.cldice(skeletons)))
        np.testing.assert_array_equal([row[f"hd95/{name}"] for row in rows], hd95)
        np.testing.assert_array_equal([row[f"assd/{name}"] for row in rows], assd)
        # An image in which nothing was found counts with its diagonal; one without the class is left out.
        assert rows[1][f"hd95/{name}"] == contours.diagonal(*made[1]["mask"].shape, size)
        assert summary[f"hd95_image/{name}"] == pytest.approx(np.nanmean(hd95))
        assert summary[f"num_infinite/{name}"] >= 1
        assert np.isnan(rows[2][f"nsd/{name}"])
    assert "nsd_pooled/background" not in summary


def test_probabilities_are_scored_and_a_temperature_is_fitted():
    made = with_instances(examples())
    network = predictor()
    summary, rows = score(network, made, MetricChoice(("calibration",)), batch_size=4)
    parts = [calibration.counts(network.predict(e["image"])[1], e["mask"], "softmax") for e in made]
    pooled = calibration.scores({name: sum(part[name] for part in parts) for name in calibration.COUNTS})
    for name, value in pooled.items():
        assert summary[name] == pytest.approx(float(value), rel=1e-6)
        np.testing.assert_allclose([row[name] for row in rows], [calibration.scores(part)[name] for part in parts])
    assert sum(summary["reliability"]["fraction"]) == pytest.approx(1)
    # The scores of the pixels are those of batches.
    assert summary["iou_pooled/mean"] == evaluate(network, made, batch_size=4)[0]["iou_pooled/mean"]
    # It is sure, and often wrong.
    fit = evaluate(network, made, batch_size=4, groups=[TemperatureGroup("softmax", 3, len(made))])[0]
    assert fit["temperature"] > 2


def test_batches_and_processes_do_not_matter():
    made = with_instances(examples())
    choice = MetricChoice(METRICS)
    whole, rows = score(predictor(), made, choice, batch_size=8)
    masks_only = MetricChoice(("instances", "boundary"))
    for batch_size in (1, 3):
        other, _ = score(predictor(), made, masks_only, batch_size=batch_size)
        np.testing.assert_equal(
            {name: whole[name] for name in other if "/" in name}, {k: v for k, v in other.items() if "/" in k}
        )
    one = predictor(devices=jax.local_devices()[:1])
    count = functools.partial(score, one, made, choice, batch_size=2, process_count=2)
    parts = [own_table(count, process_index=process) for process in range(2)]
    total = jax.tree.map(np.add, *parts)
    share = {"process_index": 1, "process_count": 2, "all_reduce": lambda _: total}
    _, of_processes = score(one, made, choice, batch_size=2, **share)
    for row, expected in zip(of_processes, rows, strict=True):
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            assert row[name] == (pytest.approx(value, rel=1e-6, nan_ok=True) if isinstance(value, float) else value)


def test_instances_are_scored_where_the_data_have_them():
    plain, numbered = examples(1), with_instances(examples(3))
    assert complete(MetricChoice(), plain).names == ("pixels",)
    assert complete(MetricChoice(), numbered).names == ("pixels", "instances")
    assert complete(MetricChoice(("boundary",)), numbered).names == ("boundary",)
    with pytest.raises(UserError, match=r"--metrics=instances: .*no instances.*leave it out"):
        complete(MetricChoice(("instances",)), plain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ("pixels", "hausdorff")}, "--metrics=hausdorff.*pixels, instances, boundary, calibration"),
        ({"tolerance": -1.0}, "--tolerance=-1"),
        ({"tolerance": float("nan")}, "--tolerance=nan"),
        ({"pixel_size": (0.0, 1.0), "unit": "mm"}, r"--pixel_size=\(0\.0, 1\.0\)"),
        ({"pixel_size": (0.5, 0.5)}, "unit is missing"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(UserError, match=message) as caught:
        MetricChoice(**options)
    assert "\n" not in str(caught.value)
