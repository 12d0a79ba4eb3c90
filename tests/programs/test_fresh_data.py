"""`--fresh_data` of train and eval: the digests of the run's cache are forgotten before the data are opened."""

import copy
from types import SimpleNamespace

import pytest

from unet_jax.configs import smoke
from unet_jax.data.store import cache
from unet_jax.errors import UserError
from unet_jax.programs import eval as eval_
from unet_jax.programs import train
from unet_jax.runs import load, loop, score
from unet_jax.runtime import cli, config_file


class Opened(Exception):
    """The data would be opened now."""


def opens(*_, **__):
    raise Opened


def set_flags(monkeypatch, *arguments):
    """Sets the flags of eval for one test."""
    values = copy.deepcopy(eval_.FLAGS)
    values(["eval", *arguments])
    monkeypatch.setattr(eval_, "FLAGS", values)


@pytest.fixture
def memo(tmp_path):
    (tmp_path / "digests.json").write_text("{}")
    return tmp_path / "digests.json"


@pytest.mark.parametrize("fresh", [True, False])
def test_train(memo, monkeypatch, fresh):
    config = smoke.get_config()
    config.data.cache_dir = str(memo.parent)
    flags = SimpleNamespace(config=config, workdir="x", sweep_index=None, profile_steps="", fresh_data=fresh)
    monkeypatch.setattr(train, "FLAGS", flags)
    monkeypatch.setattr(cli, "config_file", lambda _: str(config_file.SHIPPED / "smoke.py"))
    monkeypatch.setattr(cli, "config_keys", lambda _: {})
    monkeypatch.setattr(loop, "train_and_evaluate", opens)
    with pytest.raises(Opened):
        train.main()
    assert memo.exists() is not fresh


@pytest.mark.parametrize("fresh", [True, False])
def test_eval(memo, monkeypatch, fresh):
    (memo.parent / "config.json").write_text("{}")
    run = SimpleNamespace(config=SimpleNamespace(data=SimpleNamespace(cache_dir=str(memo.parent))), step=1)
    monkeypatch.setattr(score, "open_models", lambda *_, **__: load.Opened((run,), None))
    monkeypatch.setattr(score, "open_dataset", opens)
    set_flags(monkeypatch, f"--workdir={memo.parent}", f"--fresh_data={fresh}")
    with pytest.raises(Opened):
        eval_.main()
    assert memo.exists() is not fresh


def test_a_folder_of_images_has_no_digests(monkeypatch):
    set_flags(monkeypatch, "--workdir=w", "--images=x", "--out=y", "--fresh_data")
    with pytest.raises(UserError, match=r"--fresh_data"):
        eval_.main()


def test_a_memo_that_cannot_be_removed_is_one_line(tmp_path):
    (tmp_path / "digests.json").mkdir()
    with pytest.raises(UserError, match=r"digests\.json: .*data\.cache_dir"):
        cache.forget_digests(str(tmp_path))
