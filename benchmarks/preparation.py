"""Times the preparation and the check of a folder of images, in turn with another checkout, and compares their results.

    python benchmarks/preparation.py --other=CHECKOUT --folder=FOLDER
    python benchmarks/preparation.py --other=CHECKOUT --json

FOLDER is one that `image_folder` takes; without it, the script makes one: images of ellipses, grey and RGB, with masks and instances.
CHECKOUT is the root of another version of the project. Every run is a new process, and every preparation has a new cache in the
folder --scratch, which decides the disk.

Seconds are given twice: as the clock has them (wall), and of all threads of the process (CPU). Those of a preparation begin after the
imports; those of a check are the whole command. A ratio is ours over theirs, the median over the rounds.

The two results must be the same: the stored bytes of every example, and the output of the check. Else the script ends with status 1.
The files of examples cannot be compared: two runs of one version write the parts of an example in different orders.
"""

import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags

# Python puts the folder of a script on the path, not the project's.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from unet_jax.errors import UserError
from unet_jax.runtime import cli

FLAGS = flags.FlagValues()
flags.DEFINE_string("folder", "", "A folder of images, masks and instances; by default one is made.", FLAGS)
flags.DEFINE_string("other", "", "Root of the other checkout; without it the project is timed alone.", FLAGS)
flags.DEFINE_string("scratch", "", "Folder for what is made; by default the system's for temporary files.", FLAGS)
flags.DEFINE_integer("rounds", 3, "Number of rounds.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer("images", 200, "Images of the folder that is made.", lower_bound=1, flag_values=FLAGS)
flags.DEFINE_bool("json", False, "Print the result as a last line of JSON.", flag_values=FLAGS)

# Prints the seconds of a preparation, wall and CPU.
PREPARE = """
import json, sys, time
from unet_jax.data.datasets import from_files, image_folder
wall, cpu = time.perf_counter(), time.process_time()
image_folder.load_image_folder(sys.argv[1], cache_dir=sys.argv[2], split_fractions=(0.7, 0.15, 0.15))
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
"""
SIDES = (256, 320, 520)
OBJECTS = 30


def main() -> None:
    """Times both checkouts in turn, and prints the ratios.

    Raises:
      UserError: a run fails.
    """
    with tempfile.TemporaryDirectory(dir=FLAGS.scratch or None) as scratch:
        folder = Path(FLAGS.folder) if FLAGS.folder else make_folder(Path(scratch) / "made", FLAGS.images)
        checkouts = [Path(__file__).parents[1], *([Path(FLAGS.other)] if FLAGS.other else [])]
        rounds, results = [], []
        for number in range(1, FLAGS.rounds + 1):
            timed = [run(checkout, folder, Path(scratch)) for checkout in checkouts]
            rounds.append([seconds for seconds, _ in timed])
            results += [result for _, result in timed]
            print(f"round {number}: {'; '.join(map(describe, rounds[-1]))}", flush=True)
    same = all(result == results[0] for result in results)
    result = {"seconds": medians(rounds), "ratios": ratios(rounds), "same": same}
    for name, ratio in result["ratios"].items():
        print(f"{name}: {ratio:.2f} of the other's seconds")
    print("the results are the same" if same else f"the results differ: {differing(results)}")
    if FLAGS.json:
        print(json.dumps(result))
    sys.exit(0 if same else 1)


def run(checkout: Path, folder: Path, scratch: Path) -> tuple[dict[str, float], dict[str, str]]:
    """Prepares and checks a folder with a checkout.

    Returns:
      Seconds by what was timed; and the result: the digests of the examples of each split, and the output of the check.

    Raises:
      UserError: a process fails.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as cache:
        prepared = call(checkout, "-c", PREPARE, str(folder), cache)
        result = stored(Path(cache))
    wall, cpu = json.loads(prepared.splitlines()[-1])
    seconds = {"prepare, wall": wall, "prepare, CPU": cpu}
    wall, cpu = time.perf_counter(), children_cpu()
    result["output of the check"] = call(checkout, "-m", "unet_jax.programs.check", str(folder))
    return seconds | {"check, wall": time.perf_counter() - wall, "check, CPU": children_cpu() - cpu}, result


def stored(cache: Path) -> dict[str, str]:
    """Returns the digest of the stored bytes of all examples of each split, in their order."""
    import tensorflow_datasets as tfds

    (info,) = cache.glob("image_folder/*/*/*/dataset_info.json")
    builder = tfds.builder_from_directory(info.parent)
    digests = {}
    for split in sorted(builder.info.splits):
        features = builder.info.features
        as_stored = {name: tfds.decode.SkipDecoding() for name in features if name not in ("id", "group")}
        digest = hashlib.sha256()
        for example in builder.as_data_source(split, decoders=as_stored):
            for name in sorted(features):
                digest.update(name.encode() + b"=" + example[name])
        digests[f"examples of {split}"] = digest.hexdigest()
    return digests


def call(checkout: Path, *arguments: str) -> str:
    """Returns the output of a Python process that imports from a checkout.

    Raises:
      UserError: it fails.
    """
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
    # With -P the current folder, which may be a checkout, is not searched.
    done = subprocess.run(
        [sys.executable, "-P", *arguments], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{checkout}: a run ended with status {done.returncode}: {last}; run it by hand")
    return done.stdout


def children_cpu() -> float:
    """Returns the CPU seconds of all processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def medians(rounds: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """Returns the median seconds of each checkout, by what was timed.

    >>> medians([[{"check": 1.0}], [{"check": 3.0}]])
    [{'check': 2.0}]
    """
    return [
        {name: round(statistics.median(turn[name] for turn in turns), 3) for name in turns[0]}
        for turns in zip(*rounds, strict=True)
    ]


def ratios(rounds: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """Returns the median ratio of the first checkout's seconds to the second's; nothing without a second.

    >>> ratios([[{"check": 1.0}, {"check": 4.0}], [{"check": 2.0}, {"check": 4.0}], [{"check": 2.0}, {"check": 5.0}]])
    {'check': 0.4}
    """
    if len(rounds[0]) < 2:
        return {}
    return {
        name: round(statistics.median(ours[name] / theirs[name] for ours, theirs in rounds), 3) for name in rounds[0][0]
    }


def describe(seconds: Mapping[str, float]) -> str:
    """Returns the seconds of a checkout as text."""
    return ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items())


def differing(results: Sequence[Mapping[str, str]]) -> str:
    """Returns the names of what differs between results."""
    names = sorted({name for result in results for name in result})
    return ", ".join(name for name in names if len({result.get(name) for result in results}) > 1)


def make_folder(folder: Path, number: int) -> Path:
    """Makes a folder of images of ellipses, every fifth in colours, with masks and instances; returns it."""
    import cv2
    import numpy as np

    random = np.random.default_rng(0)
    for name in ("images", "masks", "instances"):
        (folder / name).mkdir(parents=True)
    for index in range(number):
        side = SIDES[index % len(SIDES)]
        instances = np.zeros((side, side), np.uint16)
        for label in range(1, OBJECTS + 1):
            centre, axes = random.integers(0, side, 2).tolist(), random.integers(4, 14, 2).tolist()
            cv2.ellipse(instances, centre, axes, 0, 0, 360, label, -1)
        image = random.normal(40, 4, (side, side, 3 if index % 5 == 0 else 1)) + 120 * (instances > 0)[..., None]
        pictures = {"images": image.clip(0, 255).astype(np.uint8), "masks": (instances > 0).astype(np.uint8)}
        for kind, picture in (pictures | {"instances": instances}).items():
            cv2.imwrite(str(folder / kind / f"image_{index:04}.png"), picture)
    return folder


if __name__ == "__main__":
    cli.run(main, __doc__, FLAGS)
