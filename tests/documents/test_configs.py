"""Every config makes a whole experiment; a key that nothing reads, or that a config misspells, is found here."""

import dataclasses
import importlib
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.originals import tiles, write_isbi2012, write_nuclei, write_tfds
from PIL import Image

from unet_jax.configs import default
from unet_jax.data.augment.augment import augment
from unet_jax.data.augment.options import BY_CHANCE, AugmentOptions
from unet_jax.experiment.build import build_experiment
from unet_jax.models import registry

NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "configs").glob("*.py"))
FOLDERS = {
    "image_folder": ("masks", 3),
    "battery_xray": ("masks3", 3),
    "battery_xray_unet": ("masks3", 3),
    "nuclei": ("masks", 2),
    "nuclei_unet": ("masks", 2),
    "unet_pp_paper": ("masks", 2),
    "em": ("masks", 2),
}  # config: masks_dir, classes


def make_folder(root, masks_dir, num_classes):
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    (root / masks_dir).mkdir()
    lines = ["id,split"]
    for index, split in enumerate(("train", "train", "val")):
        Image.fromarray(rng.integers(0, 255, (40, 50), np.uint8)).save(root / "images" / f"{index}.png")
        Image.fromarray(rng.integers(0, num_classes, (40, 50), np.uint8)).save(root / masks_dir / f"{index}.png")
        lines.append(f"{index},{split}")
    (root / "index.csv").write_text("\n".join(lines))
    return root


def isbi2012(get_config, root):
    write_isbi2012(root)
    return get_config(str(root))


def dsb2018(get_config, root):
    images = {f"{index}": tile[..., 0] for index, tile in enumerate(tiles(np.random.default_rng(0), 2, 2, side=32))}
    write_nuclei(root, images, {id_: (image > 128)[None] for id_, image in images.items()})
    config = get_config(str(root))
    assert Path(config.data.split_file).name == "dsb2018.csv"
    # The split file names the original's images.
    config.data.split_file = ""
    return config


def pets(get_config, root):
    write_tfds(root, {"train": 10, "test": 2}, name="oxford_iiit_pet")
    return get_config(str(root))


def nuclei_borders(get_config, root):
    make_folder(root, "masks", 2)
    (root / "instances").mkdir()
    for path in (root / "masks").iterdir():
        # Every row is another object.
        numbers = np.asarray(Image.open(path)) * (1 + np.arange(40, dtype=np.uint16)[:, None])
        Image.fromarray(numbers.astype(np.uint16)).save(root / "instances" / path.name)
    return get_config(str(root))


ORIGINALS = {
    "isbi2012": isbi2012,
    "dsb2018": dsb2018,
    "pets": pets,
    "nuclei_borders": nuclei_borders,
}  # make a small root and return the config of it


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_config_builds(name, cache_dir, tmp_path):
    get_config = importlib.import_module(f"configs.{name}").get_config
    config = ORIGINALS[name](get_config, tmp_path) if name in ORIGINALS else get_config()
    if name in FOLDERS:
        config = get_config(str(make_folder(tmp_path, *FOLDERS[name])))
    config.data.cache_dir = cache_dir
    experiment = build_experiment(config)
    channels = experiment.dataset.channels
    images = jax.ShapeDtypeStruct((1, *config.data.patch, channels), "float32")
    heads = jax.eval_shape(lambda x: experiment.module.init_with_output(jax.random.key(0), x)[0], images)
    assert heads[-1].shape == (1, *config.data.patch, experiment.module.num_classes)
    assert set(config) == set(default.get_config())
    assert set(experiment.report_classes) <= set(experiment.dataset.class_names)
    assert f"unet-jax train --config={name}" in importlib.import_module(f"configs.{name}").__doc__


def test_defaults_own_every_key():
    """No config has a key in model, data, ... that configs/default.py does not have and explain."""
    of_data = [default.electrodes(), default.tfds("")]
    of_data += [create("") for create in (default.image_folder, default.isbi2012, default.dsb2018)]
    of_model = [create() for create in default.NETWORKS.values()]
    known = {"model": set().union(*of_model), "data": set().union(*of_data)}
    for name in NAMES:
        config = importlib.import_module(f"configs.{name}").get_config()
        for section, value in config.items():
            if section in known:
                assert set(value) <= known[section]
            elif section != "seed":
                assert set(value) == set(default.get_config()[section])


def test_defaults_have_every_option_of_every_network():
    """And only those of the network: `build` refuses any other."""
    assert set(default.NETWORKS) == set(registry.MODELS)
    for name in registry.MODELS:
        options = default.NETWORKS[name]().to_dict()
        assert options.pop("name") == name
        network = registry.MODELS[name]
        fields = {field.name for field in dataclasses.fields(network)} - {"parent", "name", "num_classes", "axis_name"}
        fields -= {"variant"} if len(network.VARIANTS) == 1 else set()
        assert set(options) - {"encoder_weights"} == fields


def test_augmentation_has_every_option():
    """And the newer ones are off where a config does not ask for them, as they are in runs from before they were there."""
    off, ours = dataclasses.asdict(AugmentOptions()), default.augment().to_dict()
    assert set(off) == set(ours)
    assert set(ours["probability"]) == set(BY_CHANCE)
    changed = {name for name in off if ours[name] != off[name]}
    assert changed == {"flip", "quarter_turns", "brightness", "contrast", "gamma", "noise"}


@pytest.mark.parametrize(
    ("preset", "on"),
    [
        (
            "augment_nnunet",
            "rotate scale blur low_resolution multiply contrast inverted_gamma gamma noise",
        ),
        ("augment_unet", "elastic rotate shift brightness contrast"),
    ],
)
def test_presets_are_taken(preset, on):
    config = getattr(default, preset)()
    options = AugmentOptions(**config.to_dict())
    assert {name for name in BY_CHANCE if options.on(name)} == set(on.split())
    one = {"image": jax.ShapeDtypeStruct((32, 32, 3), "float32"), "mask": jax.ShapeDtypeStruct((32, 32), "int32")}
    made = jax.eval_shape(lambda example: augment(jax.random.key(0), example, **config.to_dict()), one)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), made) == jax.tree.map(lambda x: (x.shape, x.dtype), one)


def test_originals_train_as_their_folders_do():
    """Of the config whose examples they share, they change nothing but where the data come from."""
    for name, like in (("isbi2012", "em"), ("dsb2018", "nuclei")):
        ours, theirs = (importlib.import_module(f"configs.{n}").get_config().to_dict() for n in (name, like))
        data = [config.pop("data") for config in (ours, theirs)]
        assert [data[0][key] for key in default.pipeline()] == [data[1][key] for key in default.pipeline()]
        assert ours == theirs


@pytest.mark.parametrize("name", NAMES)
def test_every_config_takes_a_recipe(name):
    """The recipe changes the augmentation and nothing else; a folder may contain colons."""
    get_config = importlib.import_module(f"configs.{name}").get_config
    plain = get_config()
    place = next((key for key in ("root", "data_dir") if key in plain.data), None)
    folder = "gs://BUCKET/images" if place else ""
    for recipe in ("nnunet", "unet"):
        config = get_config(f"{folder}:{recipe}" if place else recipe)
        assert config.augment == getattr(default, f"augment_{recipe}")() != plain.augment
        ours, theirs = ({**c.to_dict(), "augment": None} for c in (config, plain))
        if place:
            assert get_config(folder).data == config.data
            assert ours["data"].pop(place) == folder
            del theirs["data"][place]
        assert ours == theirs
    if not place:
        with pytest.raises(ValueError, match=r"'abc'.*nnunet, unet"):
            get_config("abc")
