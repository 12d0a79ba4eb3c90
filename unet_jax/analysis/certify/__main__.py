"""Proves which networks these are: lines of PASS and FAIL, each with a number that does not come from their code.

    python -m unet_jax.analysis.certify
    python -m unet_jax.analysis.certify --config=configs/default.py
    python -m unet_jax.analysis.certify --out=certificate.json
    python -m unet_jax.analysis.certify --against=torch

Of U-Net, U-Net++, FCN and FC-DenseNet: parameter counts, sizes, which node reads which (found by raising each node's
output), how weights start, what dropout drops, and logits compared with a plain NumPy network in float64; of the first two the
losses. Below: what each option changes of the published networks. With --config, the first lines say which of these
changes that config's network has. With --against=torch (extra torch) also logits, every gradient and ten steps of Adam of
U-Net and U-Net++ compared with PyTorch, in float64.

Status 1 if a check fails. It runs on the CPU, whatever else is there.
"""

import sys
from importlib import metadata

import jax
from absl import flags
from ml_collections import config_flags

from unet_jax.analysis.certify import against_torch, counts, deviations, losses, parity, randomness, sizes, wiring
from unet_jax.analysis.certify.check import Check
from unet_jax.experiment.build import create_module
from unet_jax.plotting.text_table import format_table
from unet_jax.runtime import cli
from unet_jax.storage import json_file, paths
from unet_jax.storage.write_errors import report_write_errors

OUT = flags.DEFINE_string("out", "", "Where to write the certificate as JSON.")
AGAINST = flags.DEFINE_enum("against", None, ["torch"], "Another library to compare with.")
CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)

PARTS = (counts, sizes, wiring, randomness, losses, parity)


def text(parts: list[list[Check]]) -> str:
    """Returns a line for each check, failures with what was expected, parts separated; then how many passed."""
    checks = [check for part in parts for check in part]
    lines = iter(format_table([_cells(check) for check in checks], left=range(4)).splitlines())
    blocks = ["\n".join(next(lines) for _ in part) for part in parts]
    passed = sum(check.passed for check in checks)
    return "\n\n".join([*blocks, f"{passed} of {len(checks)} checks passed"])


def _cells(check: Check) -> tuple[str, ...]:
    if check.passed:
        return "PASS", check.network, check.claim, check.found
    return "FAIL", check.network, check.claim, f"{check.found}   expected {check.expected} ({check.source})"


def main() -> None:
    # What is proved is exact; accelerators round products by default.
    jax.config.update("jax_platforms", "cpu")
    versions = {name: metadata.version(name) for name in ("unet_jax", "jax", "flax", "numpy")}
    print(", ".join(f"{name} {version}" for name, version in versions.items()) + f", {jax.devices()[0].device_kind}\n")
    path, of_config = OUT.value and paths.expand(OUT.value, "--out"), []
    if CONFIG.value is not None:
        module = create_module(CONFIG.value, ("background", "object"))
        of_config = deviations.of(CONFIG.value.model.name, module)
        print("This config's network, compared with the published ones:")
        print("\n".join(f"- {line}" for line in of_config or ["no deviation"]) + "\n")
    parts = [list(part.checks()) for part in PARTS]
    if AGAINST.value:
        with jax.enable_x64(True):
            parts.append(list(against_torch.checks()))
    print(text(parts))
    checks = [check for part in parts for check in part]
    always = [*deviations.lines(), *deviations.ALWAYS]
    print("\nWhat differs from the papers, option by option, and always:\n" + "\n".join(f"- {line}" for line in always))
    if path:
        content = {
            "versions": versions,
            "checks": [vars(check) for check in checks],
            "deviations": always,
            "config": of_config,
        }
        with report_write_errors():
            json_file.write(path, content, indent=1)
        print(f"\nwritten: {path}")
    sys.exit(0 if all(check.passed for check in checks) else 1)


if __name__ == "__main__":
    cli.run(main, __doc__)
