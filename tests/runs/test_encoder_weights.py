"""A run that starts its encoder from a file: weights loaded, files refused, and no file read where the run resumes."""

import functools
import json
import os
import pickle
import zipfile

import jax
import numpy as np
import optax
import pytest
from helpers.small_config import small_config

from unet_jax import models
from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.errors import UserError
from unet_jax.experiment import build
from unet_jax.experiment.build import build_experiment, create_module
from unet_jax.models.encoders import weights
from unet_jax.models.encoders.registry import ENCODERS
from unet_jax.models.encoders.resnet import ResNet
from unet_jax.models.encoders.weights import load_encoder_weights
from unet_jax.runs import loop
from unet_jax.runs import workdir as folder
from unet_jax.storage.digests import file_sha256
from unet_jax.training.state import create_state


@pytest.fixture(autouse=True)
def _small_encoder(monkeypatch):
    monkeypatch.setitem(ENCODERS, "small", functools.partial(ResNet, blocks=(1, 1), features=2))


def arrays_of(channels=3, depth=0):
    """Returns random arrays of the small encoder, by path."""
    rng = np.random.default_rng(0)
    image = jax.ShapeDtypeStruct((1, 16, 16, channels), "float32")
    encoder = ENCODERS["small"](depth=depth)
    wanted = weights.flatten(jax.eval_shape(lambda x: encoder.init(jax.random.key(0), x, False), image))
    return {path: rng.normal(size=leaf.shape).astype(np.float32) for path, leaf in wanted.items()}


@pytest.fixture
def file(tmp_path):
    weights.write_encoder_weights(tmp_path / "small.npz", "small", arrays_of())
    return tmp_path / "small.npz"


def network(widths=(3, 3, 4)):
    return models.build("unet", num_classes=2, encoder="small", widths=(3, *widths))


def load(path, channels=3, **options):
    """Returns the variables of a network, 0 except those loaded into its encoder, and the note that is printed."""
    image = jax.ShapeDtypeStruct((1, 16, 16, channels), "float32")
    shapes = jax.eval_shape(lambda x: network(**options).init(jax.random.key(0), x), image)
    return load_encoder_weights(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes), path, "small")


def test_the_encoder_starts_from_the_file_and_nothing_else_does(file, capsys):
    module, arrays = network(widths=(2,)), arrays_of(depth=1)  # the stem alone, which is quick to compile
    weights.write_encoder_weights(file, "small", {**arrays_of(), **arrays})
    states = [
        create_state(module, optax.sgd(0.1, 0.9), seed=0, patch=(16, 16), channels=3, encoder_weights=path)
        for path in (str(file), "")
    ]
    assert f"{len(arrays)} arrays of {file} loaded into encoder small" in capsys.readouterr().out
    loaded, random = (
        weights.flatten({"params": s.params["encoder"], "batch_stats": s.batch_stats["encoder"]}) for s in states
    )
    assert loaded.keys() == arrays.keys()
    for path, array in arrays.items():
        np.testing.assert_array_equal(loaded[path], array, err_msg=path)
        assert not np.array_equal(random[path], array)
    for name in states[0].params.keys() - {"encoder"}:
        jax.tree.map(np.testing.assert_array_equal, states[0].params[name], states[1].params[name])
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])


def test_grey_images_sum_the_first_kernel_and_say_so(file):
    variables, said = load(file, channels=1)
    assert "summed over red, green and blue" in said
    kernel = variables["params"]["encoder"]["stem_conv"]["kernel"]
    np.testing.assert_allclose(kernel, arrays_of()["params/stem_conv/kernel"].sum(axis=2, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_other_channels_repeat_the_first_kernel_and_say_so(file, channels):
    variables, said = load(file, channels=channels)
    assert f"repeated for {channels} channels" in said
    kernel, given = (
        np.asarray(v)
        for v in (variables["params"]["encoder"]["stem_conv"]["kernel"], arrays_of()["params/stem_conv/kernel"])
    )
    for channel in range(channels):
        np.testing.assert_allclose(kernel[:, :, channel], given[:, :, channel % 3] * 3 / channels, rtol=1e-6)


def test_a_shallower_network_leaves_deeper_levels_out(file):
    variables, said = load(file, widths=(3, 2))
    unused = len(arrays_of()) - len(arrays_of(depth=2))
    assert f"; {unused} arrays" in said
    assert "block_2_0" in variables["params"]["encoder"]
    assert "block_3_0" not in variables["params"]["encoder"]


def without(path):
    return lambda arrays: arrays.pop(path)


def cut(arrays):
    arrays["params/block_3_0/conv_1/kernel"] = arrays["params/block_3_0/conv_1/kernel"][..., :1]


def spoil(arrays):
    arrays["params/stem_norm/scale"][0] = np.nan


def replace(path, array):
    return lambda arrays: arrays.update({path: array})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (replace("params/stem_norm/scale", np.array(["a", "b"])), "params/stem_norm/scale .*<U1"),
        (replace("params/stem_norm/scale", np.ones(2) * 1j), "params/stem_norm/scale .*complex128"),
        (replace("params/stem_norm/scale", np.full(2, 1e300)), r"1 with NaN or Inf \(params/stem_norm/scale\)"),
        (without("params/stem_conv/kernel"), r"1 missing \(params/stem_conv/kernel\)"),
        (without("batch_stats/stem_norm/var"), r"1 missing \(batch_stats/stem_norm/var\)"),
        (cut, r"1 of another shape \(params/block_3_0/conv_1/kernel \[3, 3, 4, 1\] for \[3, 3, 4, 4\]\)"),
        (spoil, r"1 with NaN or Inf \(params/stem_norm/scale\)"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, change, said):
    arrays = arrays_of()
    change(arrays)
    weights.write_encoder_weights(tmp_path / "a.npz", "small", arrays)
    with pytest.raises(UserError, match=said):
        load(tmp_path / "a.npz")


def test_other_files_are_refused(tmp_path):
    weights.write_encoder_weights(tmp_path / "other.npz", "resnet34", {})
    np.savez(tmp_path / "foreign.npz", a=np.zeros(2))
    np.savez(tmp_path / "numbers.npz", encoder=np.zeros((2, 2)))
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("encoder.npy", "text")
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "pickled.npz").write_bytes(pickle.dumps({"a": 1}))
    for name, said in {
        "other.npz": r"resnet34.*model\.encoder.*'small'",
        "foreign.npz": r"from-torch",
        "numbers.npz": r"from-torch",
        "text.npz": r"encoder is no array",
        "pipe.npz": r"no file",
        "pickled.npz": r"\.npz",
        "none.npz": "No such file",
    }.items():
        with pytest.raises(UserError, match=rf"{name}.*{said}"):
            load(tmp_path / name)
    weights.write_encoder_weights(tmp_path / "two.npz", "small", arrays_of(channels=2))
    with pytest.raises(UserError, match=r"\b2 channels.* 4\b"):
        load(tmp_path / "two.npz", channels=4)


@pytest.fixture
def config(cache_dir, file):
    config = small_config(cache_dir)
    config.model.update({"encoder": "small", "widths": (3, 3, 3, 4), "encoder_weights": str(file)})
    return config


@pytest.mark.parametrize("latest", [None, 3])
def test_a_run_reads_the_file_at_its_first_step_alone(config, file, latest, monkeypatch, tmp_path):
    """The sha256 of the file is recorded too."""
    asked = []

    def create(*_, encoder_weights, **__):
        asked.append(encoder_weights)
        raise KeyError("far enough")

    monkeypatch.setattr(build, "create_state", create)
    monkeypatch.setattr(Checkpointer, "latest_step", lambda self: latest)
    with pytest.raises(KeyError, match="far enough"):
        loop.train_and_evaluate(config, tmp_path / "run")
    assert asked == ["" if latest else str(file)]
    folder.add_start(tmp_path / "run", 0, memory=2**30, init_from={}, encoder_weights=asked[0])
    (started,) = json.loads((tmp_path / "run" / "versions.json").read_text())["starts"]
    assert started.get("encoder_weights_sha256", "") == ("" if latest else file_sha256(str(file)))


def test_weights_without_an_encoder_are_refused_at_once(config, tmp_path):
    config.model.encoder = ""
    with pytest.raises(UserError, match=r"model\.encoder_weights=.*model\.encoder\b"):
        build_experiment(config)


def test_a_run_is_opened_without_the_file(config):
    config.model.encoder_weights = "gone.npz"
    assert create_module(config, ("background", "anode", "cathode")).encoder == "small"
