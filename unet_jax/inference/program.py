"""Runs a function of a network on batches of images, as many at a time as fit into the memory."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import jax
import numpy as np

from unet_jax.models.network import Network
from unet_jax.runtime import compilation_cache, parallel
from unet_jax.runtime.compile_notice import compile_notice, print_above_bar
from unet_jax.runtime.out_of_memory import OutOfMemory, check_fits, check_within, report_out_of_memory

# Seconds that the first batch of a size may take before a line says that the network is being compiled.
NOTICE_AFTER_S = 3.0
# Kernels of a CPU use scratch memory that the compiler's plan leaves out: up to this many times the plan in all.
SCRATCH = 1.5
REMEDY = "free memory, predict with fewer heads (mode 'fast'), or use a machine or a device with more memory"


class Program:
    """Runs `fn(module, mode, variables, batch)` on several devices, with as many images at once as fit into the memory.

    A batch that does not fit is run in parts: in halves, in quarters, down to one image per device. A line on stderr says so
    once. Later batches of as many pixels are run in parts at once.

    Args:
      fn: such as `forward`.
      module: see `forward`.
      mode: see `forward`.
      devices: share each batch.
      budget: the bytes that a batch may take on all devices.
    """

    def __init__(
        self, fn: Callable, module: Network, mode: str, devices: Sequence[jax.Device], budget: float = math.inf
    ):
        self._devices, self._budget = tuple(devices), budget
        self._p_fn = parallel.HostForward(functools.partial(fn, module, mode), devices)
        # By the key of the batch and the tree of the variables: a level of a U-Net++ may be given all variables, or its own.
        self._compiled: dict[tuple, jax.stages.Compiled] = {}
        # The smallest number of pixels per device that did not fit; the same of a single image.
        self._too_many = self._too_large = math.inf

    @property
    def shapes(self) -> Set[tuple]:
        """The `key` of each batch that the program was compiled for."""
        return {batch for batch, _ in self._compiled}

    def is_too_large(self, pixels: int) -> bool:
        """Returns True if an image of so many pixels, or of fewer, has been found not to fit."""
        return pixels >= self._too_large

    def __call__(self, variables: Any, batch: Mapping[str, np.ndarray]) -> Any:
        """Returns what `fn` returns, as NumPy arrays `[B, ...]`.

        Args:
          variables: replicated over the devices.
          batch: arrays `[B, ...]`, B a multiple of the number of devices.

        Raises:
          OutOfMemory: one image per device does not fit.
        """
        rows, height, width = batch["image"].shape[:3]
        per_device = rows // len(self._devices)
        while per_device > 1 and per_device * height * width >= self._too_many:
            per_device = -(-per_device // 2)
        while True:
            try:
                return self._run_in_parts(variables, batch, per_device * len(self._devices))
            except OutOfMemory:
                if per_device == 1:
                    self._too_large = min(self._too_large, height * width)
                    raise
            # After the error is forgotten, and with it what its frames hold.
            if self._too_many == math.inf:
                print_above_bar(
                    f"note: {rows} images of {height} x {width} pixels do not fit into the memory at once; fewer are "
                    "predicted at a time. A smaller eval.batch_size leaves this attempt out"
                )
            self._too_many = min(self._too_many, per_device * height * width)
            per_device = -(-per_device // 2)

    def _run_in_parts(self, variables: Any, batch: Mapping[str, np.ndarray], rows: int) -> Any:
        """Runs `rows` images at a time; the last part is filled up, so that all parts share one compiled program."""
        total = len(batch["image"])
        if rows == total:
            return self._run(variables, batch)
        parts = []
        for start in range(0, total, rows):
            index = np.minimum(np.arange(start, start + rows), total - 1)
            parts.append(self._run(variables, {name: x[index] for name, x in batch.items()}))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:total], *parts)

    def _run(self, variables: Any, batch: Mapping[str, np.ndarray]) -> Any:
        key = self.key(batch), jax.tree.structure(variables)
        rows, height, width = batch["image"].shape[:3]
        size = f"{height} x {width} pixels"
        what = f"an image of {size}" if rows == len(self._devices) else f"a batch of {rows} images of {size}"
        with report_out_of_memory(what, REMEDY, self._devices):
            if key not in self._compiled:
                # A small network compiles within these seconds; then nothing is printed.
                notice = compile_notice(f"the network for images of {height} x {width} pixels", after_s=NOTICE_AFTER_S)
                with compilation_cache.shared(), notice:
                    compiled = self._p_fn.compile(variables, batch)
                check_within(compiled, self._budget, SCRATCH, len(self._devices))
                # A batch can be halved, so it is halved in time; a single image is refused where it cannot fit.
                check_fits(compiled, self._devices, scale=SCRATCH if rows > len(self._devices) else 1.0)
                self._compiled[key] = compiled
            return self._p_fn.run(self._compiled[key], variables, batch)

    @staticmethod
    def key(batch: Mapping[str, np.ndarray]) -> tuple:
        """Returns the names, shapes and types of the arrays of a batch; batches of one key share a compiled program."""
        return tuple(sorted((name, x.shape, str(x.dtype)) for name, x in batch.items()))


# Cached, so that all evaluations of a training compile once. Bounded, because programs hold memory.
shared_program = functools.lru_cache(maxsize=16)(Program)
