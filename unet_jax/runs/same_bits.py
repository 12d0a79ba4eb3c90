"""Says where a resumed run computes other bits than one that was never stopped, from the records of its starts."""

from collections.abc import Mapping
from typing import Any

from etils.epath import Path

from unet_jax.runs.records import read_versions

# Packages that compute the steps, those of the devices last. The others of the record read data and checkpoints.
PACKAGES = (
    "unet-jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "ml-dtypes",
    "libtpu",
    "jax-cuda13-plugin",
    "nvidia-cudnn-cu13",
    "nvidia-cublas",
    "jax-cuda12-plugin",
    "nvidia-cudnn-cu12",
    "nvidia-cublas-cu12",
)
# Other keys of the record that decide bits, by what the note calls them.
KEYS = {
    "device_kind": "device",
    "device_count": "devices",
    "process_count": "processes",
    "xla_flags": "XLA_FLAGS",
    "libtpu_init_args": "LIBTPU_INIT_ARGS",
    "memory": "bytes of eval.memory",
}


def note_of_change(workdir: Path, start_step: int) -> str:
    """Returns a line that says that the run is not bit-equal from here, and why; "" where nothing recorded has changed.

    The start to compare with is the one whose steps led to `start_step`.

    Args:
      workdir: the run's folder; the last start in its `versions.json` is this one.
      start_step: the step that the run goes on from.
    """
    starts = read_versions(workdir)["starts"]
    before = [start for start in starts[:-1] if start.get("start_step", start_step) < start_step]
    differing = changes(before[-1], starts[-1]) if before else []
    return (
        f"note: not bit-equal from here with a run that was never stopped: {'; '.join(differing)}" if differing else ""
    )


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Describes each difference of two records of `workdir.versions` that may change bits.

    What one of the two has not recorded counts as equal: an earlier version of the package wrote it.

    Args:
      before: the record of the earlier start.
      now: that of the later one.
    """
    on_cpu = now.get("device_kind") == before.get("device_kind") == "cpu"
    differing = []
    old, new = before.get("cpu", {}), now.get("cpu", {})
    if on_cpu and old and new:
        if old["threads"] != new["threads"]:
            # Fewer threads than devices cannot be asked for.
            same = before.get("device_count") == now.get("device_count")
            remedy = f" (NPROC={old['threads']} in the environment computes as there)" if same else ""
            differing.append(f"CPU cores {old['threads']} there, {new['threads']} now{remedy}")
        if old["model"] != new["model"]:
            differing.append(f"processor {old['model']!r} there, {new['model']!r} now")
        if alone := sorted(set(old["instructions"]) ^ set(new["instructions"])):
            differing.append(f"instructions of only one processor: {', '.join(alone[:4])}")
    for key, title in KEYS.items():
        if key in before and key in now and before[key] != now[key]:
            differing.append(f"{title} {before[key]!r} there, {now[key]!r} now")
    for section, names in (("packages", PACKAGES), ("jax_config", (*now.get("jax_config", {}),))):
        old, new = before.get(section, {}), now.get(section, {})
        for name in names:
            # A package may be installed now; a setting may be recorded now.
            recorded = (name in old and name in new) or (section == "packages" and name in {**old, **new})
            if recorded and old.get(name) != new.get(name):
                differing.append(f"{name} {old.get(name, 'none')} there, {new.get(name, 'none')} now")
    return differing
