"""A wrong value is reported before anything heavy is imported, and no check starts the devices."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READ = """
import sys
from unet_jax.configs import default
from unet_jax.errors import UserError
from unet_jax.experiment.sections import read_sections

config = default.get_config()
config.update_from_flattened_dict({{{key!r}: {value!r}}})
try:
    read_sections(config)
except UserError as error:
    print(error)
print([name for name in {heavy} if name in sys.modules])
xla_bridge = sys.modules.get("jax._src.xla_bridge")
print(bool(xla_bridge and xla_bridge._backends))
"""
# None of these is needed to see that a number is wrong.
HEAVY = ("jax", "flax", "optax", "orbax", "grain", "cv2", "scipy", "skimage", "tensorflow_datasets")


def read_in_a_new_process(key: str, value) -> list[str]:
    """Returns the error, the heavy modules that were imported, and whether devices were started."""
    code = READ.format(key=key, value=value, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optim.learning_rate", -1.0),
        ("loss.weights.dice", -2.0),
        ("train.batch_size", 0),
        ("data.patch", (32, 0)),
        ("augment.rotate", 181.0),
        ("eval.mode", "slow"),
    ],
)
def test_a_wrong_value_is_found_without_jax(key, value):
    error, imported, started = read_in_a_new_process(key, value)
    assert key in error
    assert str(value[-1] if isinstance(value, tuple) else value) in error
    assert imported == "[]"
    assert started == "False"


@pytest.mark.parametrize(
    ("key", "value", "not_needed"),
    [
        ("model.name", "u-net", ("optax", "orbax", "grain", "cv2", "tensorflow_datasets")),
        ("model.norm", "layer", ("optax", "orbax", "grain", "cv2", "tensorflow_datasets")),
        ("loss.options.focal", {"alpha": 1.0}, ("orbax", "grain", "cv2", "tensorflow_datasets")),
        ("data.name", "electrode", ("orbax", "grain")),
    ],
)
def test_an_unknown_name_is_found_without_devices(key, value, not_needed):
    error, imported, started = read_in_a_new_process(key, value)
    assert (next(iter(value)) if isinstance(value, dict) else value) in error
    assert not any(repr(name) in imported for name in not_needed)
    assert started == "False"


def test_a_whole_config_is_checked_without_devices():
    imported, started = read_in_a_new_process("seed", 1)
    assert "'orbax'" not in imported
    assert started == "False"
