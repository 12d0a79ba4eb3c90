"""Reads a state dict, arrays by name, from a file: .safetensors, .pt or .pth, and .npz. No code in a file is ever run."""

import pickle
from pathlib import Path

import numpy as np

from unet_jax.errors import UserError
from unet_jax.storage.paths import home_expanded
from unet_jax.storage.write_errors import first_line


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a file by name, floats as float32.

    - .safetensors is read by the library safetensors;
    - .pt and .pth by PyTorch, which loads tensors only (`weights_only`);
    - .npz by NumPy. It is for a machine without these libraries; another machine writes it by
      `numpy.savez(PATH, **{k: v.numpy() for k, v in state.items()})`.

    Args:
      path: of the file.

    Raises:
      UserError: there is no such file, it is of another kind, cannot be read as its kind, or is no state dict; or the library
        is not installed.
    """
    path = Path(home_expanded(path))
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: is no file of weights; give one that ends in {', '.join(READERS)}.")
    if not path.is_file():
        raise UserError(f"{path}: no such file; save it with torch.save(network.state_dict(), PATH) first.")
    try:
        state = reader(path)
        check_numbers(state)
    except ImportError as error:
        raise UserError(
            f"{path}: reading {path.suffix} needs the package {error.name}; install it: pip install 'unet-jax[torch]'."
        ) from error
    except Exception as error:
        # For a damaged file, each of the three libraries raises its own kinds of errors.
        raise UserError(
            f"{path} cannot be read as {path.suffix} ({first_line(error)}); save its state dict again."
        ) from error
    if not state:
        raise UserError(f"{path} holds no arrays; give a state dict.")
    return state


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an .npz file by name. Nothing in the file is unpickled.

    Args:
      path: of the file.

    Raises:
      Exception: the file cannot be read, or holds something else. For a damaged file NumPy raises errors of many kinds.
    """
    # A pipe would be waited for.
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    for name, array in arrays.items():
        # NumPy returns a member that is no array as bytes.
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name} is no array")
    return arrays


def check_numbers(state: dict[str, np.ndarray]) -> None:
    """Checks that every array of a state dict holds real numbers.

    Raises:
      ValueError: an array holds something else.
    """
    for name, array in state.items():
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{name} holds values of type {array.dtype}, not numbers")


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    # An extra, so it is imported only here.
    from safetensors.numpy import load_file

    return load_file(path)


def _torch(path: Path) -> dict[str, np.ndarray]:
    # An extra, so it is imported only here.
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The error's text advises the reader to run the code in the file.
        raise ValueError("damaged, or it holds more than tensors") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError("not a dictionary of tensors")
    return {key: (v.float() if v.is_floating_point() else v).numpy() for key, v in state.items()}


READERS = {".safetensors": _safetensors, ".pt": _torch, ".pth": _torch, ".npz": read_arrays}
