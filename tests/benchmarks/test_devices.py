"""The difference between several devices and one: rounding alone, and more if the batch is another one."""

import jax
import numpy as np
import pytest

from benchmarks import devices
from unet_jax.configs import smoke
from unet_jax.errors import UserError
from unet_jax.runtime import parallel


@pytest.fixture
def config(cache_dir):
    config = smoke.get_config()
    config.model.widths = (2, 3)
    config.data.update({"patch": (32, 32), "size": (32, 32), "cache_dir": cache_dir})
    config.data.update({"num_train": 6, "num_val": 3, "num_test": 3})
    config.train.batch_size = 4
    return config


@pytest.mark.usefixtures("shared_steps")
def test_the_same_batches_and_others(config, monkeypatch, capsys):
    differences = devices.measure(config, (1, 2), starts=2, num_steps=2)
    assert list(differences) == [2]
    for weight, fraction, loss in differences[2]:
        assert 0 <= weight < 1e-3
        assert 0 <= fraction < 0.05
        assert 0 <= loss < 1e-4
    assert differences[2][0] != differences[2][1]
    assert "start 1, 2 devices: " in capsys.readouterr().out
    shard = parallel.shard
    monkeypatch.setattr(
        parallel, "shard", lambda batch, of: shard(jax.tree.map(lambda rows: np.roll(rows, len(of) - 1, 0), batch), of)
    )
    ((weight, fraction, loss),) = devices.measure(config, (1, 2), starts=1, num_steps=2)[2]
    assert fraction > 0.05
    assert loss > 1e-4
    assert weight > 1e-4


def test_the_table():
    text = devices.table({2: [(1e-7, 1e-6, 0.0), (3e-7, 2e-6, 1e-7), (4e-3, 5e-2, 2e-5)]}, first=1)
    assert text.splitlines()[0] == "compared with 1: median to largest"
    row = " ".join(text.splitlines()[2].split())
    assert row == "2 3.0e-07 to 4.0e-03 2.0e-06 to 5.0e-02 1.0e-07 to 2.0e-05 2 of 3 starts"


@pytest.mark.parametrize("given", [["1"], ["1", "01"], ["1", "two"], ["0", "1"], ["1", "2", "1"]])
def test_numbers_that_are_not_several_are_refused(given, monkeypatch):
    monkeypatch.setattr(devices, "FLAGS", type("Flags", (), {"devices": given}))
    with pytest.raises(UserError, match=f"--devices={','.join(given)}"):
        devices.main()


def test_more_devices_than_there_are(config):
    with pytest.raises(UserError, match=r"--devices=64: .*4"):
        devices.measure(config, (1, 64), starts=1, num_steps=1)
