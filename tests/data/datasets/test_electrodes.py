"""The synthetic X-rays are repeatable, agree with their masks and metadata, and cannot be segmented by a threshold."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from unet_jax.data.datasets.electrodes import builder, stack
from unet_jax.data.datasets.electrodes import physics as xray
from unet_jax.data.datasets.electrodes.builder import load_electrodes
from unet_jax.data.datasets.electrodes.render import CLASS_NAMES, _truth, render
from unet_jax.errors import UserError

SIZE = (96, 128)
SMALL = {"size": (48, 64), "num_train": 3, "num_val": 2, "num_test": 2}


@pytest.fixture(scope="module")
def renders():
    return [render(0, index, size=SIZE) for index in range(12)]


def tip(mask, end):
    """Returns x of the farthest pixel of a plate on the side where it ends; its root lies on the image's border."""
    columns = np.flatnonzero(mask.any(0))
    return columns.max() if abs(columns.max() - end) < abs(columns.min() - end) else columns.min()


def test_image_depends_on_seed_and_index_alone(renders):
    again = render(0, 5, size=SIZE)
    for key in ("image", "mask", "overlapping", "instances"):
        np.testing.assert_array_equal(again[key], renders[5][key])
    assert again["plates"] == renders[5]["plates"]
    for other in (renders[6], render(1, 5, size=SIZE)):
        assert (other["image"] != again["image"]).mean() > 0.5


def test_shapes_and_types(renders):
    one = renders[0]
    assert (one["image"].shape, one["image"].dtype) == ((*SIZE, 1), np.uint8)
    assert (one["mask"].shape, one["mask"].dtype) == (SIZE, np.uint8)
    assert (one["overlapping"].shape, one["overlapping"].dtype) == ((*SIZE, 3), np.uint8)
    assert (one["instances"].shape, one["instances"].dtype) == (SIZE, np.uint16)
    json.dumps(one["plates"])
    ends = {plate["end_position"][0] > SIZE[1] / 2 for one in renders for plate in one["plates"]}
    # Stacks end to the left and to the right.
    assert ends == {True, False}


def test_sixteen_bits_hold_the_same_picture_more_finely(renders):
    fine = render(0, 3, size=SIZE, bits=16)["image"]
    assert fine.dtype == np.uint16
    assert len(np.unique(fine)) > 1000
    assert np.abs(fine / 257.0 - renders[3]["image"]).max() <= 0.51


def test_ids_follow_from_the_overlapping_masks(renders):
    folded = [render(1, index, size=SIZE, physics={"folded": 1.0}) for index in range(4)]
    shared = 0
    for one in renders + folded:
        background, anode, cathode = np.moveaxis(one["overlapping"], -1, 0)
        np.testing.assert_array_equal(one["mask"], np.where(cathode, 2, np.where(anode, 1, 0)))
        np.testing.assert_array_equal(background, (anode | cathode) == 0)
        np.testing.assert_array_equal(one["instances"] > 0, background == 0)
        flagged = np.array([False] + [plate["overlaps"] for plate in one["plates"]])
        kinds = np.array([0] + [CLASS_NAMES.index(plate["kind"]) for plate in one["plates"]])
        np.testing.assert_array_equal(kinds[one["instances"]], one["mask"])
        both = (anode & cathode) == 1
        assert flagged[one["instances"][both]].all()
        shared += both.sum()
    assert shared > 20
    assert all(plate["folded"] for one in folded for plate in one["plates"])


def test_where_plates_overlap_the_stated_rule_decides():
    kinds, spans = ("anode", "cathode", "anode", "cathode"), ((0, 3), (1, 4), (2, 6), (20, 21))
    covered = np.zeros((4, 1, 12), bool)
    for row, span in zip(covered[:, 0], spans, strict=True):
        # The last plate lies outside the image.
        row[slice(*span)] = True
    sheet = xray.Sheet("", np.zeros(12), 1.0, 0.0, 0.0, 0.0, 1.0)
    plates = [
        stack.Plate(slot, [dataclasses.replace(sheet, kind=kind)], (10.0 * slot, 0.0))
        for slot, kind in enumerate(kinds)
    ]
    truth = _truth(plates, covered, mirrored=False)
    assert truth["mask"][0, :8].tolist() == [1, 2, 2, 2, 1, 1, 0, 0]
    assert truth["instances"][0, :8].tolist() == [1, 2, 2, 2, 3, 3, 0, 0]
    assert truth["overlapping"][0, :7].tolist() == [[0, 1, 0]] + 3 * [[0, 1, 1]] + 2 * [[0, 1, 0]] + [[1, 0, 0]]
    assert [plate["overlaps"] for plate in truth["plates"]] == [True, True, True]
    # The unseen cathode, whose end is at 30 px, counts.
    assert [plate["overhang"] for plate in truth["plates"]] == [-10, None, -10]
    covered[1] = False
    truth = _truth(plates, covered, mirrored=True)
    # Of two plates of the same kind, the lower one lies over the upper one.
    assert truth["instances"][0, :7].tolist() == [1, 1, 2, 2, 2, 2, 0]
    assert [plate["end_position"] for plate in truth["plates"]] == [[11.0, 0.0], [-9.0, 0.0]]


def test_ends_and_overhangs_agree_with_the_instances():
    ends, overhangs = 0, 0
    for index in range(8):
        one = render(2, index, size=SIZE, physics={"missing": 0.0, "folded": 0.0, "wave": (0.0, 0.5)})
        plates, tips = one["plates"], {}
        assert [plate["instance"] for plate in plates] == list(range(1, len(plates) + 1))
        for plate in plates:
            x, y = plate["end_position"]
            mask = one["instances"] == plate["instance"]
            # Otherwise the border or another plate hides a part of the plate.
            if 3 < y < SIZE[0] - 4 and not plate["overlaps"]:
                tips[plate["instance"]] = tip(mask, x)
                assert abs(tips[plate["instance"]] - x) <= 1.5
                assert abs(np.flatnonzero(mask[:, tips[plate["instance"]]]).mean() - y) <= 1.5
                ends += 1
        for above, plate, below in zip(plates, plates[1:], plates[2:], strict=False):
            if plate["kind"] == "cathode":
                assert plate["overhang"] is None
            elif {p["instance"] for p in (above, plate, below)} <= tips.keys():
                outward = 1 if plate["end_position"][0] > above["end_position"][0] else -1
                cathodes = max(outward * tips[p["instance"]] for p in (above, below))
                assert abs(outward * tips[plate["instance"]] - cathodes - plate["overhang"]) <= 2
                overhangs += 1
    assert ends > 50
    assert overhangs > 15


def test_missing_plates_leave_the_stack():
    full, thinned = (render(0, 1, size=SIZE, physics={"missing": missing}) for missing in (0.0, 0.5))
    assert len(thinned["plates"]) < len(full["plates"])
    nothing = render(0, 1, size=SIZE, physics={"missing": 1.0})
    assert nothing["plates"] == []
    assert nothing["mask"].max() == 0


@pytest.mark.parametrize(
    ("tilt", "skew", "depth"), [(2.5, 6.0, (-0.5, 0.5)), (-3.0, -4.0, (0.1, 0.5)), (0, 0, (-0.5, 0.5))]
)
def test_path_length_is_the_integral_over_the_depth(tilt, skew, depth):
    y, x = xray.grid(24, 32)
    centre = 11.13 + 0.01 * (x - 4) ** 2
    sheet = xray.Sheet("anode", centre, 4.0, 20.3, tilt, skew, 1.0, depth)
    z = np.linspace(-0.5, 0.5, 1001)[:, None, None]
    inside = (np.abs(y[:, None] - centre - tilt * z) <= 2) & (x <= 20.3 + skew * z) & (z >= depth[0]) & (z <= depth[1])
    rows, fractions = xray.path_length(sheet, y, x)
    whole = np.zeros((y.size, x.size))
    whole[rows] = fractions
    np.testing.assert_allclose(whole, inside.mean(0), atol=4e-3)


def test_attenuation_follows_beer_and_lambert():
    still = dict.fromkeys(("source_blur", "detector_blur", "vignette", "scatter", "glare", "read_noise"), (0.0, 0.0))
    physics = xray.Physics(**still, exposure=(0.9, 0.9), photons=(1e12, 1e12))
    depth = np.repeat(np.linspace(0, 3, 16), xray.SUPERSAMPLE) * np.ones((16 * xray.SUPERSAMPLE, 1))
    image = xray.detect(depth, np.random.default_rng(0), physics, bits=16)
    np.testing.assert_allclose(image[8], 65535 * 0.9 * np.exp(-np.linspace(0, 3, 16)), atol=1)


def test_noise_falls_with_the_number_of_photons():
    depth = np.zeros((96, 96))
    spread = []
    for photons in (100.0, 10000.0):
        physics = xray.Physics(vignette=(0.0, 0.0), read_noise=(0.0, 0.0), photons=(photons, photons))
        image = xray.detect(depth, np.random.default_rng(0), physics, bits=16).astype(float)
        spread.append(image.std() / image.mean())
    # The expected ratio is the square root of 100.
    assert 8 < spread[0] / spread[1] < 12


def best_threshold_iou(images: np.ndarray, masks: np.ndarray, class_id: int) -> float:
    """Returns the best IoU with a class that one grey threshold reaches, over all pixels together.

    The threshold may be a lower or an upper limit. The result is NaN if the class is absent.

    Args:
      images: integer grey values.
      masks: class ids, as many as grey values.
      class_id: the class.
    """
    levels, grey = np.unique(images, return_inverse=True)
    is_class = (np.asarray(masks) == class_id).ravel()
    total = np.bincount(grey.ravel(), minlength=levels.size)
    hits = np.bincount(grey.ravel()[is_class], minlength=levels.size)
    if not hits.any():
        return float("nan")
    best = 0.0
    for order in (slice(None), slice(None, None, -1)):
        correct, marked = hits[order].cumsum(), total[order].cumsum()
        best = max(best, float((correct / (marked + hits.sum() - correct)).max()))
    return best


def test_no_single_threshold_finds_a_class(renders):
    images, masks = (np.stack([one[key].squeeze() for one in renders]) for key in ("image", "mask"))
    scores = [best_threshold_iou(images, masks, class_id) for class_id in (1, 2)]
    assert max(scores) < 0.6, scores
    assert np.mean(scores) < 0.6, scores


def test_best_threshold_is_the_best_of_all():
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 3, (2, 9, 7))
    images = (40 + 10 * masks + rng.integers(0, 20, masks.shape)).astype(np.uint16)
    for class_id in (0, 1, 2):
        truth, scores = masks == class_id, []
        for threshold in range(30, 100):
            for marked in (images <= threshold, images >= threshold):
                scores.append((marked & truth).sum() / (marked | truth).sum())
        assert best_threshold_iou(images, masks, class_id) == pytest.approx(max(scores))
    assert np.isnan(best_threshold_iou(images, masks, 3))


def test_data_set_holds_the_renders(cache_dir):
    data = load_electrodes(cache_dir=cache_dir, seed=7, **SMALL)
    assert data.splits == {"train": 3, "val": 2, "test": 2}
    assert (data.class_names, data.channels, data.dtype) == (("background", "anode", "cathode"), 1, "uint8")
    seen = set()
    for offset, split in enumerate(("train", "val", "test")):
        source = data.source(split)
        for i in range(len(source)):
            example, one = source[i], render(7, 3 * i + offset, size=SMALL["size"])
            for key in ("image", "mask", "instances"):
                np.testing.assert_array_equal(example[key], one[key])
            assert json.loads(example["plates"]) == one["plates"]
            seen.add(example["id"])
    # No image is in two splits.
    assert len(seen) == 7


@pytest.mark.parametrize("module", ["rendering", "xray", "stack"])
def test_a_change_of_the_code_changes_the_fingerprint(module, cache_dir, tmp_path, monkeypatch):
    before = load_electrodes(cache_dir=cache_dir, seed=7, **SMALL).fingerprint
    (tmp_path / "changed.py").write_text("# other code")
    monkeypatch.setattr(getattr(builder, module), "__file__", str(tmp_path / "changed.py"))
    assert load_electrodes(cache_dir=str(tmp_path), seed=7, **SMALL).fingerprint != before


def test_an_empty_split_names_its_remedy(cache_dir):
    with pytest.raises(UserError, match=r"'electrodes'.*'test'.*data\.num_train.*data\.num_val.*data\.num_test"):
        load_electrodes(cache_dir=cache_dir, seed=7, **SMALL | {"num_test": 0}).source("test")


def test_overlapping_sixteen_bit_data_set(cache_dir):
    options = {"seed": 7, "bits": 16, "physics": {"folded": 1.0}}
    data = load_electrodes(cache_dir=cache_dir, overlapping=True, **options, **SMALL)
    example, one = data.source("val")[1], render(index=4, size=SMALL["size"], **options)
    np.testing.assert_array_equal(example["mask"], one["overlapping"])
    np.testing.assert_array_equal(example["image"], one["image"])
    assert (data.overlapping, data.dtype) == (True, "uint16")
    assert data.fingerprint != load_electrodes(cache_dir=cache_dir, seed=7, **SMALL).fingerprint


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (16, 64)}, "size=(16, 64)"),
        ({"bits": 12}, "bits=12"),
        ({"seed": -1}, "seed=-1"),
        ({"num_val": 1.5}, "num_val=1.5"),
        ({"physics": {"fold": 1.0}}, "folded"),
        ({"physics": {"folded": 1.5}}, "folded=1.5"),
        ({"physics": {"gap": (3.0, 2.0)}}, "gap=(3.0, 2.0)"),
        ({"physics": {"photons": (0.0, 2.0)}}, "photons=(0.0, 2.0)"),
        ({"physics": {"gap": 3.0}}, "gap=3.0"),
    ],
)
def test_bad_options_are_named(options, words, cache_dir):
    with pytest.raises(UserError) as caught:
        load_electrodes(cache_dir=cache_dir, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tensorflow_is_never_imported(tmp_path):
    program = (
        "import sys; from unet_jax.data.datasets.electrodes.builder import load_electrodes;"
        f"data = load_electrodes(cache_dir={str(tmp_path)!r}, size=(32, 32), num_train=1, num_val=0, num_test=1);"
        "data.source('train')[0]; assert 'tensorflow' not in sys.modules, 'TensorFlow was imported'"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
