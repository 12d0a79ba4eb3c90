"""Runs every check of the networks, and shows the certificate as text and as JSON."""

import dataclasses
from importlib import metadata
from typing import Any

import jax
from ml_collections import ConfigDict

from unet_jax.analysis.certify import against_torch, counts, deviations, halo, losses, parity, randomness, sizes, wiring
from unet_jax.analysis.certify.check import Check
from unet_jax.experiment.build import create_module
from unet_jax.plotting.text_table import format_table
from unet_jax.version import __version__

PARTS = (counts, sizes, wiring, halo, randomness, losses, parity)


@dataclasses.dataclass(frozen=True)
class Certificate:
    """Holds the results of all checks.

    Attributes:
      parts: the checks, grouped by kind.
      deviations: a line for each way in which an option changes a published network, and for each constant difference.
      of_config: the deviations of a config's network; None without a config.
    """

    parts: list[list[Check]]
    deviations: list[str]
    of_config: list[str] | None

    @property
    def checks(self) -> list[Check]:
        """All checks, in order."""
        return [check for part in self.parts for check in part]

    @property
    def passed(self) -> bool:
        """True if every check passed."""
        return all(check.passed for check in self.checks)

    def text(self) -> str:
        """Returns the page below its heading: the config's network, a line for each check, and the deviations."""
        blocks = []
        if self.of_config is not None:
            lines = [f"- {line}" for line in self.of_config or ["no deviation"]]
            blocks.append("\n".join(["This config's network, compared with the published ones:", *lines]))
        blocks.append(_table(self.parts))
        lines = [f"- {line}" for line in self.deviations]
        blocks.append("\n".join(["Deviations from the papers: by option, then those of every network:", *lines]))
        return "\n\n".join(blocks)

    def to_json(self) -> dict[str, Any]:
        """Returns everything as a JSON object."""
        return {
            "versions": versions(),
            "checks": [vars(check) for check in self.checks],
            "deviations": self.deviations,
            "config": self.of_config or [],
        }


def versions() -> dict[str, str]:
    """Returns the versions of the packages that the checks depend on, by name."""
    return {"unet_jax": __version__} | {name: metadata.version(name) for name in ("jax", "flax", "numpy")}


def heading() -> str:
    """Returns the first line of the page: versions and the device. Like `certify`, it makes JAX use the CPU."""
    # Accelerators round products by default.
    jax.config.update("jax_platforms", "cpu")
    listed = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{listed}, {jax.devices()[0].device_kind}"


def certify(config: ConfigDict | None = None, against: str = "") -> Certificate:
    """Runs every check, on the CPU; call it before JAX starts its devices.

    Args:
      config: a config whose network is compared with the published ones; None for none.
      against: "torch" to compare with PyTorch as well.

    Raises:
      UserError: the config's network cannot be built, or PyTorch is not installed.
    """
    # Accelerators round products by default; a CPU does not.
    jax.config.update("jax_platforms", "cpu")
    of_config = None
    if config is not None:
        module = create_module(config, ("background", "object"))
        of_config = deviations.of(config.model.name, module)
    parts = [list(part.checks()) for part in PARTS]
    if against:
        with jax.enable_x64(True):
            parts.append(list(against_torch.checks()))
    return Certificate(parts, [*deviations.lines(), *deviations.ALWAYS], of_config)


def _table(parts: list[list[Check]]) -> str:
    """Returns a line for each check, in blocks, and the number that passed; a failure shows the expected value."""
    checks = [check for part in parts for check in part]
    lines = iter(format_table([_cells(check) for check in checks], left=range(4)).splitlines())
    blocks = ["\n".join(next(lines) for _ in part) for part in parts]
    passed = sum(check.passed for check in checks)
    return "\n\n".join([*blocks, f"{passed} of {len(checks)} checks passed"])


def _cells(check: Check) -> tuple[str, ...]:
    if check.passed:
        return "PASS", check.network, check.claim, check.found
    return "FAIL", check.network, check.claim, f"{check.found}   expected {check.expected} ({check.source})"
