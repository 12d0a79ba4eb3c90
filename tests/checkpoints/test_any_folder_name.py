"""A folder of any name keeps its checkpoints: they are written there, listed, and read again."""

import numpy as np
import pytest

from unet_jax.checkpoints.checkpointer import Checkpointer
from unet_jax.checkpoints.finished import read_contents

STATE = {"params": {"conv": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}, "step": np.int32(7)}
NAMES = [f"a{c}b" for c in map(chr, range(32, 127)) if not c.isalnum() and c != "/"]
NAMES += ["-a", "a.", " a", "a ", "**", "x[0:1]", "x@5", "{a,b}", "gs:", "s3:", "file:x", "%20", "é", "a\nb", "b\udcff"]


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_in_a_folder_of_any_name(tmp_path, name):
    # Folders that the name matches as a pattern, or that it becomes where a library reads `\` as `/`.
    for other in ("axb", "a"):
        (tmp_path / other / "checkpoints").mkdir(parents=True)
    folder = tmp_path / name / "checkpoints"
    with Checkpointer(folder) as checkpointer:
        checkpointer.save(1, STATE, 0.5)
    assert read_contents(folder).steps == (1,)
    assert sorted(path.name for path in folder.iterdir()) == ["1"]
    with Checkpointer(folder, read_only=True) as checkpointer:
        checkpointer.verify_score(1)
        assert checkpointer.step_of("best") == 1
        leaves = checkpointer.read_leaves(1)
    np.testing.assert_array_equal(leaves["params/conv/kernel"], STATE["params"]["conv"]["kernel"])
    assert {path.name for path in tmp_path.iterdir()} == {"axb", "a", name}
    assert not any(any((tmp_path / other / "checkpoints").iterdir()) for other in ("axb", "a"))
