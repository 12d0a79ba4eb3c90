"""Prediction: levels and modes, masks, any size and type of image."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.known_network import NAMES, GreyLevels
from PIL import Image

from unet_jax import models
from unet_jax.errors import UserError
from unet_jax.inference.forward import mean_probabilities, select_heads
from unet_jax.inference.predictor import Predictor
from unet_jax.runtime import out_of_memory, parallel
from unet_jax.runtime.out_of_memory import OutOfMemory
from unet_jax.segmentation import to_masks, to_probabilities


def grey_levels(options=(), **fields):
    fields = {"class_names": NAMES, "normalize": "range", "pad_multiple": 16} | fields
    return Predictor(GreyLevels(**dict(options)), {}, **fields)


def image(height, width, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 3, (height, width))
    return (ids * 100 + rng.integers(0, 30, ids.shape)).astype(np.uint8), ids


def random_variables(module, size):
    """Any numbers will do, and shapes alone need no compile."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, size, size, 1)))
    return jax.tree.map(lambda x: 0.2 * rng.standard_normal(x.shape, np.float32), shapes)


@pytest.fixture(scope="module")
def nested():
    module = models.build("unet_pp", num_classes=3, widths=(4, 6, 8), deep_supervision=True, activation="sigmoid")
    return module, random_variables(module, 16)


# Masks, by hand


def test_softmax_masks_are_the_one_hot_of_the_id():
    probabilities = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]], np.float32)
    for masks, ids in (to_masks(probabilities, "softmax"), to_masks(jnp.asarray(probabilities), "softmax")):
        np.testing.assert_array_equal(ids, [0, 2, 0])
        np.testing.assert_array_equal(masks, [[1, 0, 0], [0, 0, 1], [1, 0, 0]])
        assert ids.dtype == np.uint8
        assert masks.dtype == bool


def test_sigmoid_masks_overlap_and_the_id_is_the_most_probable():
    probabilities = np.array([[0.9, 0.4, 0.3], [0.9, 0.5, 0.3], [0.1, 0.6, 0.7], [0.1, 0.2, 0.1]], np.float32)
    for masks, ids in (to_masks(probabilities, "sigmoid"), to_masks(jnp.asarray(probabilities), "sigmoid")):
        np.testing.assert_array_equal(ids, [0, 1, 2, 0])
        np.testing.assert_array_equal(masks, [[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0]])


def test_one_class_is_cut_at_one_half():
    masks, ids = to_masks(np.array([[0.49], [0.5]], np.float32), "sigmoid")
    np.testing.assert_array_equal(masks, [[False], [True]])
    np.testing.assert_array_equal(ids, [0, 1])


def test_probabilities_and_heads():
    logits = jnp.array([[0.0, np.log(3.0)]])
    np.testing.assert_allclose(to_probabilities(logits, "softmax"), [[0.25, 0.75]], rtol=1e-6)
    np.testing.assert_allclose(to_probabilities(logits, "sigmoid"), [[0.5, 0.75]], rtol=1e-6)
    heads = (logits, -logits)
    np.testing.assert_allclose(mean_probabilities(heads, "sigmoid", "accurate"), [[0.5, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(mean_probabilities(heads, "sigmoid", "fast"), [[0.5, 0.25]], rtol=1e-6)


# Levels and modes


def test_select_levels_and_modes(nested):
    module, _ = nested
    assert select_heads(module) == module
    assert select_heads(module, "fast", 1) == module.clone(level=1, deep_supervision=False)
    assert select_heads(module, "accurate", 2) == module.clone(level=2)
    single = module.clone(deep_supervision=False, level=2)
    assert select_heads(single, "accurate") == select_heads(single, "fast", 2) == single
    unet = models.build("unet", num_classes=2, widths=(4, 6))
    assert select_heads(unet, "accurate") == select_heads(unet, "fast") == unet


@pytest.mark.parametrize(
    ("fields", "mode", "level", "says"),
    [
        ({}, "quick", 0, r"'quick'.*accurate, fast"),
        ({}, "fast", 3, r"level 3\b.*0, 1, 2"),
        ({}, "fast", -1, r"level -1\b.*0, 1, 2"),
        ({"level": 1}, "fast", 2, r"level 2\b.*: 0, 1 "),
        ({"deep_supervision": False}, "fast", 1, r"level 1\b.*deep supervision.*: 0, 2 "),
    ],
)
def test_select_refuses(nested, fields, mode, level, says):
    with pytest.raises(UserError, match=says):
        select_heads(nested[0].clone(**fields), mode, level)


def test_unet_has_no_level():
    with pytest.raises(UserError, match=r"level 1\b.*no levels"):
        select_heads(models.build("unet", num_classes=2, widths=(4, 6)), "fast", 1)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["accurate", "fast"])
@pytest.mark.parametrize("level", [0, 1])
def test_predictor_is_the_network_at_its_level(nested, mode, level):
    module, variables = nested
    pixels = np.random.default_rng(1).random((16, 16, 1)).astype(np.float32)
    heads = jax.jit(module.apply)(variables, pixels[None])[: level or 2]
    expected = [jax.nn.sigmoid(head[0]) for head in heads]
    expected = sum(expected) / len(expected) if mode == "accurate" else expected[-1]
    if level == 1:
        # The variables of the level are enough.
        needed = {"x_0_0", "x_1_0", "x_0_1", "up_0_1", "head_1"}
        variables = {"params": {name: p for name, p in variables["params"].items() if name in needed}}
    predictor = Predictor(module, variables, NAMES, normalize="range", mode=mode, level=level, pad_multiple=16)
    _, probabilities = predictor.predict(pixels)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


# Images


@pytest.mark.parametrize("lost", [0, 5])
def test_any_size_comes_back_at_its_size_and_place(lost):
    predictor = grey_levels({"lost": lost})
    for height, width in ((1, 1), (16, 16), (17, 40), (7, 33)):
        pixels, ids = image(height, width)
        masks, probabilities = predictor.predict(pixels)
        np.testing.assert_array_equal(masks, np.stack([ids == 1, ids == 2], -1))
        assert probabilities.shape == (height, width, 3)
        assert probabilities.dtype == np.float32


def test_valid_padding_loses_no_pixel_and_moves_none():
    module = models.build("unet", num_classes=2, widths=(4, 6), padding="valid")
    variables = random_variables(module, module.input_size(4))
    pixels = np.random.default_rng(0).random((20, 27), np.float32)
    _, probabilities = Predictor(module, variables, ("a", "b"), normalize="range", pad_multiple=16).predict(pixels)
    margin = module.margin // 2
    ends = [(margin, module.input_size(n) - margin - n) for n in pixels.shape]
    (logits,) = jax.jit(module.apply)(variables, np.pad(pixels, ends, mode="reflect")[None, ..., None])
    assert probabilities.shape == (20, 27, 2)
    # Outside of it, the context depends on how far the image is mirrored.
    inner = np.s_[: 20 - margin, : 27 - margin]
    np.testing.assert_allclose(probabilities[inner], jax.nn.softmax(logits[0, :20, :27])[inner], atol=1e-5)


def test_pictures_of_pillow_and_masked_arrays_without_a_mask_are_taken():
    pixels, _ = image(5, 6)
    expected, _ = grey_levels().predict(pixels)
    for same in (Image.fromarray(pixels), np.ma.masked_array(pixels)):
        np.testing.assert_array_equal(grey_levels().predict(same)[0], expected)


def test_types_ranks_and_channels_of_one_image_agree():
    predictor = grey_levels(report_classes=("cathode",))
    pixels, ids = image(9, 21)
    grey = pixels[..., None]
    same = [grey, pixels.astype(np.uint16) * 257, pixels / 255, (pixels / 255).astype(np.float32)]
    same += [np.repeat(grey, 3, -1), np.concatenate([np.repeat(grey, 3, -1), 255 - grey], -1)]
    for array in same:
        masks, _ = predictor.predict(array)
        np.testing.assert_array_equal(masks, (ids == 2)[..., None])
    # More images than devices, and no multiple of their number.
    batch = np.stack([grey, grey[::-1], grey[:, ::-1], grey, 0 * grey, grey])
    masks, probabilities = predictor.predict(batch)
    np.testing.assert_array_equal(masks[..., 0], np.stack([ids, ids[::-1], ids[:, ::-1], ids, 0 * ids, ids]) == 2)
    assert probabilities.shape == (6, 9, 21, 3)
    masks, _ = grey_levels(channels=3).predict(pixels)
    np.testing.assert_array_equal(masks[..., 1], ids == 2)


def test_rgb_becomes_grey_by_luminance():
    green = np.zeros((4, 4, 3), np.uint8)
    green[..., 1] = 255
    prepared = grey_levels().prepare(green)
    # 0.587 * 255 = 149.7, rounded as the image's type asks.
    np.testing.assert_allclose(255 * prepared, 150, rtol=1e-6)


def test_one_padded_size_shares_a_program_and_devices_agree():
    traces = []

    def fn(module, mode, variables, batch):
        traces.append(batch["image"].shape)
        return batch["image"].sum((1, 2, 3))

    first, second = grey_levels(), grey_levels(report_classes=("anode",))
    batch = np.arange(4 * 16 * 16, dtype=np.float32).reshape(4, 16, 16, 1)
    sums = first.run(fn, {"image": batch})
    second.run(fn, {"image": batch + 1})
    assert len(traces) == 1
    assert len(first.program(fn).shapes) == 1
    one = grey_levels(devices=jax.local_devices()[:1])
    np.testing.assert_allclose(one.run(fn, {"image": batch}), sums)
    np.testing.assert_allclose(sums, batch.sum((1, 2, 3)))


class OnDevice:
    """A tensor that cannot be read from here."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("copy it first\nor not")


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\).* 1\b"),
        (np.zeros((4, 4), np.int64), "int64"),
        (np.zeros((0, 4), np.uint8), r"shape \(0, 4\)"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4), 2.0), r"\b2 to 2\b.*data\.normalize"),
        (None, "None.*path"),
        ("a/b.png", r"'a/b\.png'.*\bstr\b.*read_image"),
        (Path("b.png"), r"'b\.png'.*PosixPath.*read_image\('b\.png'\)"),
        ({"image": 1}, r"\bdict\b"),
        ([np.zeros((4, 4)), None], r"\blist\b"),
        ([[0, 1], [0]], r"\blist\b"),
        (np.ma.masked_less(np.arange(16, dtype=np.uint8).reshape(4, 4), 3), r"masked.*filled"),
        (Image.new("P", (4, 4)), "'P'.*RGB"),
        (Image.new("CMYK", (4, 4)), "'CMYK'.*RGB"),
        (Image.new("1", (4, 4)), "'1'.*L,"),
        (OnDevice(), r"OnDevice.*\(copy it first\)"),
    ],
)
def test_images_refused(array, says):
    with pytest.raises(UserError, match=says):
        grey_levels().predict(array)
    with pytest.raises(UserError):
        grey_levels().predict_images([array])


@pytest.mark.parametrize(
    ("options", "fields", "says"),
    [
        ({}, {"class_names": ("a", "b")}, r"\b2 class names \(a, b\).*\b3 classes"),
        ({}, {"report_classes": ("plate",)}, r"'plate'.*background, anode, cathode"),
        ({"activation": "relu"}, {}, r"'relu'.*softmax, sigmoid"),
        ({"num_classes": 1}, {"class_names": ("plate",)}, r"'softmax'.*'sigmoid'"),
    ],
)
def test_what_does_not_fit_the_network_is_refused(options, fields, says):
    with pytest.raises(UserError, match=says):
        grey_levels(options, **fields)


def test_the_order_of_bytes_changes_nothing():
    pixels = np.arange(0, 25600, 100, np.uint16).reshape(16, 16)
    expected = grey_levels().predict(pixels)
    for one, other in zip(grey_levels().predict(pixels.astype(">u2")), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_devices_and_numbers_beyond_a_float_are_refused():
    with pytest.raises(UserError, match="devices is empty"):
        grey_levels(devices=[])
    with pytest.raises(UserError, match="NaN or Inf"):
        grey_levels().predict(np.full((4, 4), 1e300))


def test_one_channel_takes_the_second_of_two_names():
    predictor = grey_levels({"num_classes": 1, "activation": "sigmoid"}, class_names=("background", "plate"))
    assert predictor.class_names == predictor.report_classes == ("plate",)
    pixels, ids = image(5, 6)
    masks, _ = predictor.predict(pixels)
    np.testing.assert_array_equal(masks[..., 0], ids == 1)


def test_range_takes_the_depth_that_the_network_was_trained_on():
    eight, sixteen = np.full((4, 4), 100, np.uint8), np.full((4, 4), 25700, np.uint16)
    predictor = grey_levels(dtype="uint8")
    with pytest.raises(UserError, match=r"16-bit \(uint16\).*8-bit \(uint8\)"):
        predictor.predict(sixteen)
    # Floats of 0..1 are documented, whatever the depth.
    for array in (eight, (eight / 255).astype(np.float32)):
        assert predictor.predict(array)[0][..., 0].all()
    with pytest.raises(UserError, match=r"8-bit \(uint8\).*16-bit \(uint16\)"):
        grey_levels(dtype="uint16").predict(eight)
    assert grey_levels(dtype="uint16").predict(sixteen)[0][..., 0].all()
    grey_levels(dtype="uint8", normalize="image").predict(sixteen)


# Memory


@pytest.fixture
def room(monkeypatch):
    """Returns a function that sets the number of pixels that fit into the memory of all devices."""
    sizes, run = [], parallel.HostForward.run
    room = {"pixels": 10**9}

    def run_what_fits(self, program, variables, batch):
        sizes.append(batch["image"].shape[0])
        if batch["image"].size > room["pixels"]:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1000000000 bytes.")
        return run(self, program, variables, batch)

    monkeypatch.setattr(parallel.HostForward, "run", run_what_fits)

    def set_to(pixels):
        room["pixels"] = pixels
        sizes.clear()
        return sizes

    return set_to


def test_a_batch_that_does_not_fit_is_predicted_in_parts(room, capsys):
    # A network of its own, because equal ones share a program, which remembers.
    predictor = grey_levels({"lost": 2}, devices=jax.local_devices()[:2])
    made = [image(30, 20, seed) for seed in range(7)]
    pixels = [pixels for pixels, _ in made]
    padded = np.prod(predictor.padded_size(30, 20))
    sizes = room(10**9)
    whole = predictor.predict_images(pixels, batch_size=8)
    assert sizes == [8]
    assert capsys.readouterr().err == ""
    sizes = room(3 * padded)
    parts = predictor.predict_images(pixels, batch_size=8)
    # The last of the four parts is filled up.
    assert sizes == [8, 4, 2, 2, 2, 2]
    for one, other, (_, ids) in zip(parts, whole, made, strict=True):
        # XLA may round the last digit otherwise in an array of another length.
        np.testing.assert_allclose(one, other, rtol=1e-6)
        np.testing.assert_array_equal(np.argmax(one, -1), ids)
    assert re.fullmatch(r"note: 8 images of 36 x 36 .*eval\.batch_size.*\n", capsys.readouterr().err)
    # It is known now, and so it is neither tried nor said again.
    sizes.clear()
    predictor.predict_images(pixels[:6], batch_size=6)
    assert sizes == [2, 2, 2]
    assert capsys.readouterr().err == ""


def test_an_image_that_does_not_fit_is_one_line(room):
    predictor = grey_levels({"lost": 1}, devices=jax.local_devices()[:2])
    room(100)
    with pytest.raises(OutOfMemory, match=r"^an image of 34 x 18 pixels .* 1 GB were asked for.*; free memory"):
        predictor.predict(np.zeros((30, 10), np.uint8))
    # A smaller one still fits.
    room(18 * 18 * 2)
    assert predictor.predict(np.zeros((10, 10), np.uint8))[0].shape == (10, 10, 2)


def test_the_compilers_plan_is_compared_with_the_free_memory_before_a_run(room, monkeypatch):
    predictor = grey_levels({"lost": 3}, devices=jax.local_devices()[:1])
    sizes = room(10**9)
    # The probabilities of one image of 16 x 16 pixels take 3 kB.
    monkeypatch.setattr(out_of_memory, "free_host_memory", lambda: 16e3)
    assert len(predictor.predict_images([np.zeros((16, 16), np.uint8)] * 8, batch_size=8)) == 8
    assert max(sizes) < 8
    monkeypatch.setattr(out_of_memory, "free_host_memory", lambda: 9000)
    sizes.clear()
    with pytest.raises(OutOfMemory, match=r"an image of 38 x 38 pixels .*9e-06 GB are free"):
        predictor.predict(np.zeros((32, 32), np.uint8))
    assert sizes == []
    monkeypatch.setattr(out_of_memory, "free_host_memory", lambda: 100)
    with pytest.raises(OutOfMemory, match=r"an image of 30 x 20 pixels .* 4\.8e-06 GB were asked for"):
        predictor.prepare(np.zeros((30, 20), np.uint8))
