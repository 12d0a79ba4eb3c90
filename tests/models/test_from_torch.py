"""torchvision's weights: names and layouts against its networks written from their definition, files, and the program."""

import functools
import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import torch_networks

from unet_jax.errors import UserError
from unet_jax.models.encoders import state_dict, torchvision, weights
from unet_jax.models.encoders.densenet import DenseNet
from unet_jax.models.encoders.registry import ENCODERS
from unet_jax.models.encoders.resnet import ResNet
from unet_jax.models.encoders.vgg import VGG
from unet_jax.runtime.unoptimized_jit import jit_without_optimization

DENSENETS = {
    "densenet121": {},
    "densenet169": {"layers_per_block": (6, 12, 32, 32)},
    "densenet201": {"layers_per_block": (6, 12, 48, 32)},
}
DENSENETS["densenet161"] = {"layers_per_block": (6, 12, 36, 24), "growth_rate": 48, "features": 96}
# torchvision's networks and the numbers of parameters that it publishes, classifiers included.
FULL = {
    "vgg16": (torch_networks.vgg, {}, 138_357_544),
    "vgg16_bn": (torch_networks.vgg, {"batch_norm": True}, 138_365_992),
    "resnet34": (torch_networks.resnet, {}, 21_797_672),
    "resnet50": (torch_networks.resnet, {"bottleneck": True}, 25_557_032),
    "densenet121": (torch_networks.densenet, DENSENETS["densenet121"], 7_978_856),
    "densenet169": (torch_networks.densenet, DENSENETS["densenet169"], 14_149_480),
    "densenet201": (torch_networks.densenet, DENSENETS["densenet201"], 20_013_928),
    "densenet161": (torch_networks.densenet, DENSENETS["densenet161"], 28_681_000),
}
# Small encoders: this project's, torchvision's, and the options of both.
SMALL = {
    "vgg": (VGG, torch_networks.vgg, {"convs": (1, 2, 1), "features": (3, 4, 5)}),
    "vgg_bn": (VGG, torch_networks.vgg, {"convs": (1, 2, 1), "features": (3, 4, 5), "batch_norm": True}),
    "resnet": (ResNet, torch_networks.resnet, {"blocks": (2, 1), "features": 3}),
    "bottleneck": (ResNet, torch_networks.resnet, {"blocks": (1, 2), "features": 2, "bottleneck": True}),
    "densenet": (DenseNet, torch_networks.densenet, {"layers_per_block": (2, 1, 1), "growth_rate": 2, "features": 5}),
}


def trainable(state):
    other = ("running_mean", "running_var", "num_batches_tracked")
    return {key: array for key, array in state.items() if not key.endswith(other)}


def small(name):
    """Returns an encoder, torchvision's weights, an image `[B, C, H, W]`, and torchvision's maps of it."""
    ours, theirs, options = SMALL[name]
    network, image = torch_networks.Network(), np.random.default_rng(1).normal(size=(2, 3, 16, 32))
    return ours(**options), network.state, image, theirs(network, image, **options)


def full(name):
    """Returns the state of torchvision's full network, as shapes, and its maps."""
    theirs, options, _ = FULL[name]
    network = torch_networks.Network(compute=False)
    return network.state, theirs(network, np.zeros((1, 3, 32, 32), np.float32), **options)


@pytest.mark.parametrize("name", list(FULL))
def test_levels_of_the_full_network(name):
    """The published number of parameters shows that the definition is torchvision's."""
    assert name in torchvision.NAMES
    state, maps = full(name)
    assert sum(array.size for array in trainable(state).values()) == FULL[name][2]
    encoder = ENCODERS[name]()
    assert encoder.widths == {level: leaf.shape[1] for level, leaf in zip(encoder.levels, maps, strict=True)}
    assert [leaf.shape[2] for leaf in maps] == [32 >> level for level in encoder.levels]


@pytest.mark.slow
# Those two are densenet121 with more layers.
@pytest.mark.parametrize("name", sorted(set(FULL) - {"densenet169", "densenet201"}))
def test_every_weight_of_the_full_network_has_its_place(name):
    state, _ = full(name)
    arrays, left_out = torchvision.convert_state_dict(ENCODERS[name](), state)
    classifier = [key for key in left_out if key.startswith(("fc.", "classifier."))]
    assert set(left_out) == {key for key in state if key in classifier or key.endswith("tracked")}
    assert len(classifier) == (6 if name.startswith("vgg") else 2)
    ours = sum(array.size for path, array in arrays.items() if path.startswith("params/"))
    assert ours == FULL[name][2] - sum(state[key].size for key in classifier)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SMALL))
def test_the_same_weights_give_the_same_maps(name):
    encoder, state, image, expected = small(name)
    arrays, _ = torchvision.convert_state_dict(encoder, state)
    variables = weights.traverse_util.unflatten_dict(arrays, sep="/")
    apply = jit_without_optimization(functools.partial(encoder.apply, train=False))
    maps = apply(variables, jnp.asarray(image.transpose(0, 2, 3, 1), jnp.float32))
    assert len(maps) == len(expected) == 3 + (name == "densenet")
    for ours, theirs in zip(maps, expected, strict=True):
        assert theirs.std() > 1e-3
        np.testing.assert_allclose(ours.transpose(0, 3, 1, 2), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_older_names_of_densenets():
    encoder, state, *_ = small("densenet")
    older = {}
    for key, array in state.items():
        for part in ("norm", "conv"):
            for number in "12":
                if "denselayer" in key:
                    key = key.replace(f".{part}{number}.", f".{part}.{number}.")
        older[key] = array
    assert "features.denseblock1.denselayer2.norm.1.weight" in older
    for path, array in torchvision.convert_state_dict(encoder, state)[0].items():
        np.testing.assert_array_equal(array, torchvision.convert_state_dict(encoder, older)[0][path])


def test_an_error_lists_every_mismatch():
    encoder, state, *_ = small("resnet")
    state["layer2.0.conv1.weight"] = np.zeros((6, 3, 5, 5), np.float32)
    state["bn1.weight"] = np.zeros(4, np.float32)
    state["layer3.0.conv1.weight"] = state.pop("layer1.0.conv2.weight")
    del state["bn1.running_var"]
    with pytest.raises(UserError) as error:
        torchvision.convert_state_dict(encoder, state)
    said = str(error.value)
    assert "2 missing (" in said
    assert "layer1.0.conv2.weight" in said
    assert "bn1.running_var" in said
    assert "1 left over (layer3.0.conv1.weight)" in said
    assert "2 of another shape (" in said
    assert "layer2.0.conv1.weight [6, 3, 5, 5] for [6, 3, 3, 3]" in said
    assert "bn1.weight [4] for [3]" in said


def test_an_error_names_the_first_of_many_arrays():
    encoder, *_ = small("resnet")
    with pytest.raises(UserError, match=r"missing \(.*, \.\.\.\).*left over \(fc1\.weight\)") as error:
        torchvision.convert_state_dict(encoder, {"fc1.weight": np.zeros((3, 3), np.float32)})
    assert len(str(error.value)) < 1000


def test_files_that_are_no_state_dict(tmp_path, monkeypatch):
    (tmp_path / "broken.npz").write_bytes(b"no zip")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    np.savez(tmp_path / "empty.npz")
    (tmp_path / "a.pth").write_bytes(b"")
    (tmp_path / "a.safetensors").write_bytes(b"")
    for name in ("torch", "safetensors"):
        # An import of it fails, as where it is not installed.
        monkeypatch.setitem(sys.modules, name, None)
    for name, said in {
        "broken.npz": r"\.npz",
        "objects.npz": "pickle",
        "empty.npz": "arrays",
        "none.npz": r"torch\.save\(",
        "weights.h5": r"\.safetensors, \.pt, \.pth, \.npz",
        "a.pth": "package torch.*unet-jax.torch",
        "a.safetensors": "package safetensors.*unet-jax.torch",
    }.items():
        with pytest.raises(UserError, match=f"{name}.*{said}"):
            state_dict.read_state_dict(tmp_path / name)


def run(*arguments):
    command = [sys.executable, "-m", "unet_jax.programs.from_torch", *map(str, arguments)]
    root = Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)


def test_the_program(tmp_path):
    network = torch_networks.Network(compute=False)
    torch_networks.vgg(network, np.zeros((1, 3, 32, 32), np.float32))
    state = {key: array for key, array in network.state.items() if not key.startswith("classifier.0")}
    state["features.0.weight"] = np.arange(64 * 3 * 3 * 3, dtype=np.float32).reshape(64, 3, 3, 3)
    state["classifier.3.weight"] = state["classifier.3.weight"][:1]
    np.savez(tmp_path / "vgg16.npz", **state)
    done = run(tmp_path / "vgg16.npz", "--encoder=vgg16", f"--out={tmp_path / 'new' / 'ours.npz'}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "26 arrays of vgg16, 14,714,688 parameters" in done.stdout
    assert "left out: classifier.3.weight, classifier.3.bias, classifier.6.weight, classifier.6.bias" in done.stdout
    name, arrays = weights.read_encoder_weights(tmp_path / "new" / "ours.npz")
    assert (name, len(arrays)) == ("vgg16", 26)
    np.testing.assert_array_equal(arrays["params/conv_0_0/kernel"][2, 1, 0, 5], state["features.0.weight"][5, 0, 2, 1])
    before = (tmp_path / "vgg16.npz").read_bytes()
    done = run(tmp_path / "vgg16.npz", "--encoder=vgg16", f"--out={tmp_path / 'vgg16.npz'}")
    assert (done.returncode, "vgg16.npz: is there already" in done.stderr) == (2, True)
    assert (tmp_path / "vgg16.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.npz", "--encoder=densenet40", "--out=b"], "--encoder=densenet40.*torchvision's are vgg16"),
        (["a.npz", "--encoder=resnet34"], "out"),
        (["a.npz", "--encoder=resnet34", "--out=b.pth"], "--out=b.pth: does not end in .npz"),
    ],
)
def test_errors_of_the_program(arguments, said):
    done = run(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert re.search(f"^error: .*{said}", line)
