"""Makes every result of the docs by one command: trains, scores and tabulates each run, and continues one that was stopped.

    python benchmarks/evidence.py --list
    python benchmarks/evidence.py --battery_xray=FOLDER --nuclei=FOLDER --em=FOLDER
    python benchmarks/evidence.py --only='electrodes-*-seed0' --minutes=0.1 --workdir=runs/trial --results=runs/trial.csv
    python benchmarks/evidence.py --table
    python benchmarks/evidence.py --pictures
    python benchmarks/evidence.py --claims
    python benchmarks/evidence.py --members
    python benchmarks/evidence.py --scores
    python benchmarks/evidence.py --plates

A row is a run: a config, a data set, a seed and minutes. First step_seconds.py measures the seconds a step of all networks of
a data set, in turn. The number of steps that fills the minutes is then fixed and written to the file of results. So
the same command trains the same bits, also if the machine is slower on another day. A finished row is not run again. A stopped
row continues. A row that fails does not stop the others. Rows whose folder is not given are left out, with a note.

Results go to benchmarks/results.csv and from there into README.md and docs/explanation/results.md. With another --results
file the docs do not change, and the tables are printed. --pictures copies the best, the median and the worst image of a
run on the synthetic X-rays into docs/images/, and prints where those of the other data sets are. --claims analyses the runs
that are done and writes docs/explanation/claims.md (claims.py). --members measures what heads, views and several networks gain
(members.py), and whether the levels of U-Net++ could be chosen tile by tile (adaptive.py). --scores gives the calibration of the
same runs before and after a temperature, and the scores of objects and contours (field_scores.py). --plates scores the plates of
electrode stacks, and shows the worst images (plates.py).
"""

import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from absl import flags

# Python puts the folder of a script on the path, not the project's.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import adaptive, claims, field_scores, members, plates, rows, tables
from benchmarks.programs import Programs
from unet_jax.errors import UserError
from unet_jax.runtime import cli

ROOT = rows.ROOT
RESULTS = ROOT / "benchmarks" / "results.csv"
PICTURES = ROOT / "docs" / "images"
RESULTS_PAGE = ROOT / "docs" / "explanation" / "results.md"
SHOWN = ("best", "median", "worst")
FOLDERS = [name for name, data in rows.DATA.items() if data.folder]

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "only",
    "*",
    "Rows to run, as a pattern of their names; --list shows the names. With --claims: of the claims.",
    flag_values=FLAGS,
)
flags.DEFINE_string("workdir", "runs/evidence", "Folder of the runs; each has a folder in it.", flag_values=FLAGS)
flags.DEFINE_string("results", str(RESULTS), "The CSV file of the results.", flag_values=FLAGS)
flags.DEFINE_float(
    "minutes", 0.0, "Minutes of training steps, in place of those of the rows: for a trial.", flag_values=FLAGS
)
flags.DEFINE_bool("list", False, "Print the rows with their state and command; run nothing.", flag_values=FLAGS)
flags.DEFINE_bool("table", False, "Write the tables from the CSV; run nothing.", flag_values=FLAGS)
for _name, _what in (
    ("claims", "Run the commands of docs/explanation/claims.md"),
    ("members", "Measure what heads, views and several networks gain"),
    ("scores", "Score calibration, objects and contours"),
    ("plates", "Score the plates of electrode stacks"),
):
    flags.DEFINE_bool(_name, False, f"{_what}, on runs that are done; train nothing.", flag_values=FLAGS)
flags.DEFINE_bool(
    "pictures", False, "Copy the pictures of runs that are done, or print their paths; run nothing.", flag_values=FLAGS
)
for _name in FOLDERS:
    flags.DEFINE_string(_name, "", f"Folder with the images and masks of {_name}.", flag_values=FLAGS)


def check_folders(chosen: list[rows.Row], folders: dict[str, str], explicit: bool) -> list[rows.Row]:
    """Returns the rows whose data are there.

    Args:
      chosen: the rows to check.
      folders: the folder of each data set; "" where none was given.
      explicit: True if the user chose the rows by name.

    Raises:
      UserError: a folder does not exist, or one is not given and `explicit` is True.
    """
    for name, folder in folders.items():
        if folder and not Path(folder).is_dir():
            raise UserError(f"--{name}={folder}: no such folder; give the folder that holds images/ and masks/")
    missing = [name for name in dict.fromkeys(row.data for row in chosen) if name in folders and not folders[name]]
    if missing and explicit:
        raise UserError(f"--{missing[0]} is missing, which the chosen rows need; give --{missing[0]}=FOLDER")
    for name in missing:
        print(f"--{name}=FOLDER is not given: {sum(row.data == name for row in chosen)} row(s) of {name} are left out")
    return [row for row in chosen if row.data not in missing]


def measure(
    data: str, every: list[rows.Row], results: tables.Results, workdir: Path, folder: str, programs: Programs
) -> bool:
    """Writes speed and number of steps of all rows of a data set that lack them to the file of results.

    All networks of the data set are measured at one time, also those that are not to be run now. A network that was added
    later is measured in turn with the others. Its speed is scaled by how much slower or faster the others are this time.

    Args:
      data: the data set.
      every: all rows.
      results: the file of results.
      workdir: the folder of the runs.
      folder: the folder of the data.
      programs: runs step_seconds.py.

    Returns:
      False if the measurement failed.
    """
    of_data = [row for row in every if row.data == data]
    speeds = {}
    for row in of_data:
        if "num_steps" in (line := results[row.name]):
            speeds[row.variant] = float(line["seconds_per_step"]), line["parameters"]
    lacking = [row for row in of_data if "num_steps" not in results[row.name]]
    if any(row.variant not in speeds for row in lacking):
        print(f"\n== {data}: seconds a step of {', '.join(rows.EXPERIMENTS[data])}, in turn", flush=True)
        out = workdir / f"step_seconds-{data}.json"
        if programs.run("benchmarks/step_seconds.py", f"--data={data}", f"--folder={folder}", f"--out={out}"):
            return False
        measured = json.loads(out.read_text())
        drift = [seconds / measured[variant]["seconds_per_step"] for variant, (seconds, _) in speeds.items()]
        # The machine may be slower or faster than it was.
        drift = statistics.median(drift or [1.0])
        for variant, result in measured.items():
            speeds.setdefault(variant, (drift * result["seconds_per_step"], result["parameters"]))
    for row in lacking:
        seconds, parameters = speeds[row.variant]
        results.update(
            row.name,
            data=data,
            network=row.experiment.network,
            config=row.experiment.config,
            seed=row.seed,
            minutes=f"{row.minutes:g}",
            num_steps=rows.steps_in(row.minutes, speeds[row.experiment.adds_to or row.variant][0]),
            seconds_per_step=f"{seconds:.4f}",
            parameters=parameters,
        )
    return True


def run_row(row: rows.Row, results: tables.Results, workdir: Path, folder: str, programs: Programs) -> bool:
    """Trains and scores one row, or continues it; returns False if that was stopped or failed."""
    num_steps, split = int(results[row.name]["num_steps"]), rows.DATA[row.data].split
    run, begin = workdir / row.name, time.time()
    scores = run / "eval" / f"{split}.json"
    print(f"\n== {row.name}: {num_steps} steps", flush=True)
    marks = dict.fromkeys([*results[row.name].get("commit", "").split(), code_mark()])
    # Written before the start, because the code may change while it runs.
    results.update(row.name, commit=" ".join(marks))
    failed = programs.run("run_train.py", f"--workdir={run}", *rows.train_flags(row, num_steps, folder))
    # A training scores the split test if there is one.
    if not failed and not (scores.exists() and scores.stat().st_mtime >= begin):
        failed = programs.run("run_eval.py", f"--workdir={run}", f"--split={split}")
    wall = float(results[row.name].get("wall_minutes", 0)) + (time.time() - begin) / 60
    results.update(row.name, wall_minutes=f"{wall:.2f}")
    if not failed:
        results.update(row.name, **describe(row, run, num_steps))
    return not failed


def describe(row: rows.Row, run: Path, num_steps: int) -> dict[str, object]:
    """Returns the columns of a finished run, from the files in its folder."""
    # Imported here because --list and --table need no jax.
    from unet_jax.tracking.metrics_file import read_metrics

    split = rows.DATA[row.data].split
    scored = json.loads((run / "eval" / f"{split}.json").read_text())
    start = json.loads((run / "versions.json").read_text())["starts"][-1]
    lines = read_metrics(run / "metrics.jsonl")
    # A line is about the steps since the line before.
    train = [line for line in lines if line["split"] == "train"]
    before = [0, *(line["step"] for line in train)]
    seconds = sum(line["step_s"] * (line["step"] - last) for line, last in zip(train, before, strict=False))
    classes = rows.create_config(row.data, row.variant).eval.classes
    names = [*(f"iou_pooled/{name}" for name in classes), "iou_pooled/mean", "iou_image/mean"]
    scores = {name: scored["summary"][name] for name in names}
    command = ["python run_train.py", *rows.train_flags(row, num_steps), f"--workdir=runs/{row.name}"]
    return {name: f"{float('nan') if value is None else value:.4f}" for name, value in scores.items()} | {
        "trained_minutes": f"{seconds / 60:.2f}",
        "split": split,
        "checkpoint": scored["step"],
        "date": datetime.now(UTC).date().isoformat(),
        "jax": metadata.version("jax"),
        "device": start["device_kind"],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "command": " ".join(command),
    }


def code_mark(root: Path = ROOT) -> str:
    """Returns the commit, with a "+" if files that a run depends on differ from it or are new; "unknown" without git.

    The file of results does not count, because every run changes it.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "unet_jax", "configs", "run_train.py", "run_eval.py")
        return git("rev-parse", "HEAD")[:12] + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_tables(every: list[rows.Row], results: tables.Results) -> None:
    """Writes the tables into README.md and docs/explanation/results.md; prints those of another --results file.

    The docs name the CSV file, so it is made if it does not exist.
    """
    if results.path.resolve() != RESULTS:
        known = [row for row in every if results[row.name]]
        print(f"\n{tables.summary(known, results)}\n\n{tables.runs(known, results)}")
        return
    if not RESULTS.exists():
        results.write()
    tables.rewrite(ROOT / "README.md", "results", tables.highlights(every, results))
    for mark, table in (("results", tables.summary), ("runs", tables.runs), ("additions", tables.additions)):
        tables.rewrite(RESULTS_PAGE, mark, table(every, results))
    shown = [f"![The {name} image](../images/{_picture(name).name})" for name in SHOWN if _picture(name).exists()]
    tables.rewrite(RESULTS_PAGE, "pictures", "\n\n".join(shown) or "Not made yet.")
    print("wrote the tables of README.md and docs/explanation/results.md")


def copy_pictures(every: list[rows.Row], results: tables.Results, workdir: Path) -> None:
    """Prints where the best, median and worst image of the first U-Net++ run of each data set are.

    Those of the synthetic data set are copied to docs/images/: only synthetic images may be shown.
    """
    for data, about in rows.DATA.items():
        row = next(row for row in every if row.data == data and row.variant == "unet_pp")
        folder = workdir / row.name / "eval" / about.split
        if not (results.done(row.name) and all((folder / f"{name}.png").exists() for name in SHOWN)):
            print(f"{data}: {row.name} is not done in {workdir}; there are no pictures")
            continue
        print(f"{data}: {', '.join(str(folder / f'{name}.png') for name in SHOWN)}")
        if not about.folder and results.path.resolve() == RESULTS:
            for name in SHOWN:
                shutil.copyfile(folder / f"{name}.png", _picture(name))


def _picture(name: str) -> Path:
    return PICTURES / f"electrodes_{name}.png"


def write_members(results: tables.Results, workdir: Path) -> list[str]:
    """Measures what heads, views and several networks gain; see `write_measured`."""
    picture = pictures_folder(results, workdir) / "adaptive.png"
    return write_measured(
        results, workdir, lambda done: itertools.chain(members.run_all(done), adaptive.run_all(done, picture))
    )


def write_plates(results: tables.Results, workdir: Path) -> list[str]:
    """Scores the plates of electrode stacks; see `write_measured`."""
    of_data = {data: plates.rows_of(data) for data in plates.RUNS}
    folder = pictures_folder(results, workdir)
    return write_measured(results, workdir, lambda done: plates.run_all(done, folder), of_data)


def pictures_folder(results: tables.Results, workdir: Path) -> Path:
    """Returns the folder of the pictures: that of the docs, or that of the runs for another file of results."""
    return PICTURES if results.path.resolve() == RESULTS else workdir


def write_measured(
    results: tables.Results,
    workdir: Path,
    run_all: Callable[[dict[str, list[Path]]], Iterable[tuple[str, str]]],
    of_data: dict[str, list[rows.Row]] | None = None,
) -> list[str]:
    """Measures runs that are done, and writes the tables into the results page.

    Those of another --results file are printed.

    Args:
      results: says which runs are done.
      workdir: the folder of the runs.
      run_all: yields the place of each table in the page, and the table, from the folders of the runs by data set.
      of_data: the rows of the runs by data set; None for those of `members`.

    Returns:
      The data sets whose runs are not done; they are left out.
    """
    of_data = of_data or {data: members.rows_of(data) for data in members.DATA}
    there = {data: members.folders_of(chosen, results, workdir) for data, chosen in of_data.items()}
    done = {data: folders for data, folders in there.items() if folders}
    if done:
        # A table is written as soon as it is measured.
        for mark, table in run_all(done):
            print(f"\n{table}", flush=True)
            if results.path.resolve() == RESULTS:
                tables.rewrite(RESULTS_PAGE, mark, table)
    return [data for data in of_data if data not in done]


def run_all(
    chosen: list[rows.Row], every: list[rows.Row], results: tables.Results, workdir: Path, folders: dict[str, str]
) -> list[str]:
    """Runs the chosen rows that are not done; returns the names of those that are still not done."""
    workdir.mkdir(parents=True, exist_ok=True)
    with Programs() as programs:
        for data in dict.fromkeys(row.data for row in chosen if not results.done(row.name)):
            folder = folders.get(data, "")
            if not measure(data, every, results, workdir, folder, programs):
                continue
            for row in chosen:
                if row.data != data or results.done(row.name) or programs.stopping:
                    continue
                try:
                    run_row(row, results, workdir, folder, programs)
                except Exception:
                    # The files of one row are wrong; the others continue.
                    traceback.print_exc()
    return [row.name for row in chosen if not results.done(row.name)]


def main() -> None:
    results, workdir = tables.Results(FLAGS.results), Path(FLAGS.workdir).expanduser().absolute()
    if FLAGS.claims:
        with Programs() as programs:
            not_done = claims.run_all(FLAGS.only, results, workdir, programs)
        if not_done:
            print(f"\nnot done: {', '.join(not_done)}", file=sys.stderr)
            sys.exit(1)
        return
    if FLAGS.members or FLAGS.scores or FLAGS.plates:
        not_done = [
            *(write_members(results, workdir) if FLAGS.members else ()),
            *(write_measured(results, workdir, field_scores.run_all) if FLAGS.scores else ()),
            *(write_plates(results, workdir) if FLAGS.plates else ()),
        ]
        if not_done := list(dict.fromkeys(not_done)):
            print(f"\nthe runs of {', '.join(not_done)} are not done in {workdir}", file=sys.stderr)
            sys.exit(1)
        return
    chosen, every = rows.select(FLAGS.only, FLAGS.minutes), rows.select(minutes=FLAGS.minutes)
    folders = {
        name: str(Path(FLAGS[name].value).expanduser().absolute()) if FLAGS[name].value else "" for name in FOLDERS
    }
    if FLAGS.minutes and results.path.resolve() == RESULTS:
        raise UserError(
            f"--minutes={FLAGS.minutes} is a trial and would be written to the project's results; give --results=FILE.csv too"
        )
    if FLAGS.list:
        for row in chosen:
            state = "done" if results.done(row.name) else "not run"
            steps = int(results[row.name].get("num_steps", 0))
            flags_ = " ".join(rows.train_flags(row, steps)) if steps else "(number of steps not measured yet)"
            print(f"{row.name}  [{state}]  {flags_}")
        return
    if FLAGS.table or FLAGS.pictures:
        if FLAGS.pictures:
            copy_pictures(every, results, workdir)
        write_tables(every, results)
        return
    chosen = check_folders(chosen, folders, explicit=FLAGS.only != "*")
    not_done = run_all(chosen, every, results, workdir, folders)
    write_tables(every, results)
    if not_done:
        print(f"\nnot done: {', '.join(not_done)}; the same command continues them", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main, __doc__, FLAGS)
