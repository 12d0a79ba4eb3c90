"""The sheet shows the windows that the step trains on, with the masks at the step's positions."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unet_jax.analysis import preview
from unet_jax.configs import default
from unet_jax.errors import UserError
from unet_jax.experiment.build import build_experiment
from unet_jax.plotting import drawing
from unet_jax.programs import preview as program
from unet_jax.runtime import parallel
from unet_jax.training.state import TrainState
from unet_jax.training.step import create_gradient_fn

# Pixels of the strip above a tile.
TITLE = 26


@pytest.fixture
def config(cache_dir):
    config = default.get_config()
    config.model.widths = (2, 2)
    config.data.update({"patch": (32, 32), "size": (32, 32), "cache_dir": cache_dir})
    config.data.update({"num_train": 6, "num_val": 1, "num_test": 1})
    config.train.batch_size = 4
    config.augment.update({"rotate": 90.0, "fill_mode": "void"})
    config.seed = 3
    return config


@pytest.mark.slow
def test_the_sheet_shows_what_the_step_trains_on(config):
    """Uses the step's gradient function on four devices, with a network that returns its image."""
    parts = build_experiment(config)
    windows = preview.pairs(config, parts, first_step=2)
    shown = [next(windows) for _ in range(8)]
    assert [(pair.step, pair.place) for pair in shown] == [(s, p) for s in (2, 3) for p in range(4)]

    module = SimpleNamespace(apply=lambda variables, image, **_: ((variables["params"] * image,), {}))
    loss = SimpleNamespace(needs_weight_map=False, sums=lambda heads, *_: heads[-1].sum(), from_sums=lambda sums: sums)
    gradient = create_gradient_fn(module, loss, seed=config.seed, augmentation=config.augment.to_dict())
    mapped = jax.pmap(gradient, axis_name=parallel.AXIS, in_axes=(None, 0))
    for s in (2, 3):
        pairs = shown[4 * (s - 2) : 4 * (s - 1)]
        batch = {name: np.stack([pair.before[name] for pair in pairs])[:, None] for name in pairs[0].before}
        state = TrainState(step=jnp.int32(s), params=jnp.float32(1), batch_stats={}, opt_state=())
        _, image, mask, valid = mapped(state, batch)[1][1]
        for name, seen in (("image", image), ("mask", mask), ("valid", valid)):
            drawn = np.stack([pair.after[name] for pair in pairs])
            np.testing.assert_allclose(drawn, seen[:, 0], atol=1e-4, err_msg=f"{name} of step {s}")
    assert not np.array_equal(shown[0].after["mask"], shown[0].before["mask"])


def window(value, corner):
    """Returns a window of 50 x 50 pixels: a ramp times `value`, and class 1 in a square of 20 from `corner` on."""
    mask = np.zeros((50, 50), np.int32)
    mask[corner : corner + 20, corner : corner + 20] = 1
    ramp = np.broadcast_to(np.linspace(-1, 1, 50, dtype=np.float32)[None, :, None], (50, 50, 1))
    return {"image": value * ramp, "mask": mask, "valid": np.ones((50, 50), bool)}


def test_both_windows_have_the_same_greys_and_separate_masks():
    pair = preview.Pair(7, 2, window(1.0, 5), window(0.5, 15))
    picture = preview.draw([pair] * 5, ("background", "plate"))
    side = 4 * 50
    tile = picture[TITLE : TITLE + side, : 2 * side + 2]
    before, after = tile[:, :side], tile[:, side + 2 :]
    outline = list(drawing.FOREGROUND[0])
    for shown, corner, other in ((before, 20, 60), (after, 60, 20)):
        assert shown[corner, corner].tolist() == outline
        assert shown[other, other].tolist() != outline
    assert before[190, ::199].mean(-1).tolist() == [0, 255]
    # Half the contrast is visible.
    np.testing.assert_allclose(after[190, ::199].mean(-1), [64, 191], atol=3)
    # Five pairs are two rows.
    assert picture.shape[0] > 2 * (TITLE + side)

    void = pair.after | {"valid": np.arange(50)[:, None] * np.ones((1, 50)) < 25}
    greyed = preview.draw([pair._replace(after=void)], ("background", "plate"))[TITLE : TITLE + side]
    np.testing.assert_array_equal(greyed[:, :side], before)
    assert np.ptp(greyed[150, side + 2 : 2 * side + 2]) < np.ptp(after[150]) / 2
    np.testing.assert_array_equal(greyed[:96, side + 2 : 2 * side + 2], after[:96])


def test_overlapping_masks_are_drawn_one_over_the_other():
    both = window(1.0, 5)
    masks = np.stack([both["mask"] == 0, both["mask"], np.roll(both["mask"], 10, 0)], -1).astype(np.int32)
    pair = preview.Pair(0, 0, both | {"mask": masks}, both | {"mask": masks})
    tile = preview.draw([pair], ("background", "anode", "cathode"))[TITLE:]
    assert tile[20, 20].tolist() == list(drawing.FOREGROUND[0])
    assert tile[60, 40].tolist() == list(drawing.FOREGROUND[1])


def asked(monkeypatch, config, **changes):
    given = {"config": config, "out": "sheet.png", "num": 2, "step": 0, "seed": None}
    monkeypatch.setattr(program, "FLAGS", SimpleNamespace(**given | changes))
    monkeypatch.setattr(program.cli, "config_file", lambda values: "my_config.py")


def test_the_command_writes_the_sheet(config, monkeypatch, tmp_path, capsys):
    sheets = []
    for seed in (None, 3, 4):
        asked(monkeypatch, config, out=str(tmp_path / f"new/{seed}.png"), seed=seed)
        program.main()
        sheets.append((tmp_path / f"new/{seed}.png").read_bytes())
    assert "seed 4\nwritten: " in capsys.readouterr().out
    # The config's seed is 3.
    assert sheets[0] == sheets[1] != sheets[2]


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [("num", 0, "1 to 1000"), ("step", -1, "0 to 2147483647"), ("out", "sheet.jpg", r"\.png")],
)
def test_wrong_flags_are_refused(config, monkeypatch, name, value, remedy):
    asked(monkeypatch, config, **{name: value})
    with pytest.raises(UserError, match=rf"--{name}={value}.*{remedy}"):
        program.main()


def test_the_map_of_weights_stands_to_the_right():
    before, after = window(1.0, 5), window(1.0, 20)
    weight = np.zeros((50, 50), np.float32)
    weight[:25] = 1.0
    plain = preview.draw([preview.Pair(0, 0, before, after)], ("background", "cell"))
    drawn = preview.draw(
        [preview.Pair(0, 0, before | {"weight": 1 - weight}, after | {"weight": weight})], ("background", "cell")
    )
    # A gap and a panel of 4 x 50 pixels.
    assert drawn.shape[1] == plain.shape[1] + 2 + 200
    panel = drawn[TITLE : TITLE + 200, -drawing.GAP - 200 : -drawing.GAP]
    # The enlargement blends the rows between the two.
    assert (panel[:97] == 255).all()
    assert (panel[103:] == 0).all()
