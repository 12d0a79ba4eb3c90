"""Evaluation of a split, with a network whose answer is known."""

import functools

import jax
import numpy as np
import pytest
from helpers.known_network import NAMES, SIZES, examples, predictor
from helpers.own_table import own_table

from unet_jax.errors import UserError
from unet_jax.evaluation.evaluate import evaluate
from unet_jax.inference.ensemble import Ensemble
from unet_jax.inference.uncertainty import MEASURES


def expected_iou(made, k):
    inter = union = 0
    for example in made:
        known = example["mask"] != 255
        a, b = (example["seen"] == k) & known, (example["mask"] == k) & known
        inter, union = inter + (a & b).sum(), union + (a | b).sum()
    return inter / union


@pytest.mark.parametrize("lost", [0, 3])
def test_every_pixel_counts_once_whatever_the_batch_size(lost):
    made = examples()
    made[2]["group"] = made[5]["group"] = "field"
    results = [evaluate(predictor(lost), made, batch_size=b) for b in (1, 8)]
    for summary, rows in results:
        for k, name in enumerate(NAMES):
            assert summary[f"iou_pooled/{name}"] == pytest.approx(expected_iou(made, k), abs=1e-12)
        assert summary["num_images"] == len(made)
        assert [row["id"] for row in rows] == [e["id"] for e in made]
        # An image without a group is a group of its own.
        assert [row["group"] for row in rows] == ["x0", "x1", "field", "x3", "x4", "field", "x6"]
        assert [(row["height"], row["width"]) for row in rows] == list(SIZES)
        assert rows[3]["iou/anode"] == pytest.approx(expected_iou(made[3:4], 1), abs=1e-12)
        known = made[4]["mask"] != 255
        assert rows[4]["pixel_accuracy"] == pytest.approx((made[4]["seen"] == made[4]["mask"])[known].mean())
        means = [row["iou/mean"] for row in rows]
        assert np.mean(means) == pytest.approx(summary["iou_image/mean"])
    (first, first_rows), (second, second_rows) = results
    assert first_rows == second_rows
    assert {k: v for k, v in first.items() if "/" in k and "per_s" not in k} == {
        k: v for k, v in second.items() if "/" in k and "per_s" not in k
    }


def test_compiles_are_counted_once_per_padded_size():
    made, network = examples(), predictor(devices=jax.local_devices()[:2])
    summary, _ = evaluate(network, made, batch_size=2)
    padded = {tuple(-(-n // 16) * 16 for n in size) for size in SIZES}
    assert summary["num_compiles"] == len(padded) == 4
    summary, _ = evaluate(predictor(devices=jax.local_devices()[:2]), made, batch_size=2)
    assert summary["num_compiles"] == 0
    assert summary["images_per_s"] > 0


def test_each_image_comes_with_the_masks_that_were_counted():
    made, seen = examples(), {}
    summary, _ = evaluate(predictor(), made, batch_size=4, on_image=lambda id_, *masks: seen.update({id_: masks}))
    assert summary["iou_pooled/mean"] == evaluate(predictor(), made, batch_size=4)[0]["iou_pooled/mean"]
    assert sorted(seen) == sorted(example["id"] for example in made)
    for example in made:
        masks, ids = seen[example["id"]]
        np.testing.assert_array_equal(ids, example["seen"])
        np.testing.assert_array_equal(masks, np.eye(len(NAMES), dtype=bool)[example["seen"]])


def test_processes_add_up():
    made, one = examples(), predictor(devices=jax.local_devices()[:1])
    whole = evaluate(predictor(), made, batch_size=8)[1]
    count = functools.partial(evaluate, one, made, batch_size=2, process_count=2)
    parts = [own_table(count, process_index=process) for process in range(2)]
    total = jax.tree.map(np.add, *parts)
    _, rows = evaluate(one, made, batch_size=2, process_index=1, process_count=2, all_reduce=lambda _: total)
    assert rows == whole
    with pytest.raises(RuntimeError, match=r"once: \[\d"):
        evaluate(one, made, batch_size=2, process_index=0, process_count=2)


def test_overlapping_masks_need_sigmoid():
    made = examples(2)
    for example in made:
        mask = np.stack([example["seen"] == k for k in range(3)], -1).astype(np.uint8)
        # Every anode pixel is cathode as well.
        mask[..., 2] |= mask[..., 1]
        example["mask"] = mask
    summary, _ = evaluate(predictor(activation="sigmoid"), made, batch_size=4)
    seen = np.concatenate([e["seen"].ravel() for e in made])
    assert summary["iou_pooled/anode"] == 1
    assert summary["iou_pooled/cathode"] == pytest.approx((seen == 2).sum() / (seen > 0).sum())
    with pytest.raises(UserError, match=r"model\.activation.*'softmax'.*'sigmoid'"):
        evaluate(predictor(), made, batch_size=4)


def test_what_cannot_be_scored_is_refused():
    made = examples(1)
    made[0]["mask"][3, 3] = 3
    with pytest.raises(UserError, match=r"class id 3\b.*\b3 classes"):
        evaluate(predictor(), made, batch_size=4)
    with pytest.raises(UserError, match=r"\b1 channels.*\b3\b"):
        evaluate(predictor(channels=3), made, batch_size=4)
    with pytest.raises(UserError, match="no image"):
        evaluate(predictor(), [], batch_size=4)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_an_ensemble_is_scored_like_its_only_network(activation):
    made = examples()
    expected, expected_rows = evaluate(predictor(activation=activation), made, batch_size=4)
    ensemble = Ensemble([predictor(activation=activation)], "all")
    seen, uncertain = {}, {}
    summary, rows = evaluate(
        ensemble,
        made,
        batch_size=4,
        on_image=lambda id_, *masks: seen.update({id_: masks}),
        on_uncertainty=lambda id_, uncertainty: uncertain.update({id_: uncertainty}),
    )
    assert evaluate(ensemble, made, batch_size=4)[1] == expected_rows
    assert {k: v for k, v in summary.items() if "/" in k} == {k: v for k, v in expected.items() if "/" in k}
    for row, expected_row, example in zip(rows, expected_rows, made, strict=True):
        measured = {name: row.pop(name) for name in MEASURES}
        assert row == expected_row
        assert measured == {name: getattr(uncertain[example["id"]], name) for name in MEASURES}
        assert (measured["pairwise_dice"], measured["mutual_information"]) == (1, pytest.approx(0, abs=1e-6))
        np.testing.assert_array_equal(seen[example["id"]][1], example["seen"])


def test_processes_share_the_images_of_an_ensemble():
    made, ensemble = examples(), Ensemble([predictor(devices=jax.local_devices()[:1])], "flips")
    options = {"batch_size": 8, "on_uncertainty": lambda *_: None}
    whole, tables, ids = evaluate(ensemble, made, **options)[1], [], []

    def add(table):
        tables.append(table)
        # The first process adds nothing to the second one's, which fails its check.
        return jax.tree.map(np.add, *tables) if len(tables) == 2 else table

    parts = {"process_count": 2, "all_reduce": add, "on_image": lambda id_, *_: ids.append(id_)}
    with pytest.raises(RuntimeError, match=r"once: \[1, 3, 5\]"):
        evaluate(ensemble, made, process_index=0, **options, **parts)
    _, rows = evaluate(ensemble, made, process_index=1, **options, **parts)
    assert rows == whole
    assert ids == ["x0", "x2", "x4", "x6", "x1", "x3", "x5"]
