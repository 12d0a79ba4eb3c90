"""Every result of the README by one command: trains, scores and tabulates each run, and goes on where it was stopped.

    python benchmarks/evidence.py --list
    python benchmarks/evidence.py --battery_xray=FOLDER --nuclei=FOLDER --em=FOLDER
    python benchmarks/evidence.py --only='electrodes-*-seed0' --minutes=0.1 --workdir=runs/trial --results=runs/trial.csv
    python benchmarks/evidence.py --table
    python benchmarks/evidence.py --pictures
    python benchmarks/evidence.py --claims

A row is a run: a config, a data set, a seed and minutes. First the seconds a step of all networks of a data set are
measured, in turn (step_seconds.py); the number of steps that fill the minutes is then fixed and on file, so the same
command trains the same bits however fast the machine is that day. A row that is done is not run again; one that was
stopped goes on; one that fails does not stop the others. Rows whose folder is not given are left out, with a note.

Results go to benchmarks/results.csv and from there into README.md and docs/explanation/results.md; another --results file leaves
the docs alone, and its tables are printed. --pictures copies the best, median and worst image of a run on the
synthetic X-rays into docs/images/ and prints where those of the other sets lie. --claims analyses the runs that are done, by the
commands of unet-jax, and writes docs/explanation/claims.md (claims.py).
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import traceback
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script has its own folder there, not the project's

from benchmarks import claims, rows, tables
from benchmarks.programs import Programs
from unet_jax.errors import UserError
from unet_jax.runtime import cli

ROOT = rows.ROOT
RESULTS = ROOT / "benchmarks" / "results.csv"
RESULTS_PAGE = ROOT / "docs" / "explanation" / "results.md"
SHOWN = ("best", "median", "worst")
FOLDERS = [name for name, data in rows.DATA.items() if data.folder]

flags.DEFINE_string("only", "*", "Rows to run, as a pattern of their names; --list shows them.")
flags.DEFINE_string("workdir", "runs/evidence", "Folder of the runs, one folder each.")
flags.DEFINE_string("results", str(RESULTS), "The CSV file.")
flags.DEFINE_float("minutes", 0.0, "Of training steps, in place of the rows' own: for a trial.")
flags.DEFINE_bool("list", False, "Print the rows with their state and command; run nothing.")
flags.DEFINE_bool("table", False, "Write the tables from the CSV; run nothing.")
flags.DEFINE_bool(
    "claims", False, "Run the commands of docs/explanation/claims.md on runs that are done; train nothing."
)
flags.DEFINE_bool("pictures", False, "Copy and name the pictures of runs that are done; run nothing.")
for _name in FOLDERS:
    flags.DEFINE_string(_name, "", f"Folder of {_name}'s images and masks.")


def check_folders(chosen: list[rows.Row], folders: dict[str, str], explicit: bool) -> list[rows.Row]:
    """The rows whose data are there.

    Raises UserError for a folder that does not exist, and, where the rows were chosen by the user, for one not given.
    """
    for name, folder in folders.items():
        if folder and not Path(folder).is_dir():
            raise UserError(f"--{name}={folder}: no such folder; give the one that holds images/ and masks")
    missing = [name for name in dict.fromkeys(row.data for row in chosen) if name in folders and not folders[name]]
    if missing and explicit:
        raise UserError(f"the rows chosen need a folder: give --{missing[0]}=FOLDER")
    for name in missing:
        print(f"left out, as --{name}=FOLDER is not given: {sum(row.data == name for row in chosen)} row(s) of {name}")
    return [row for row in chosen if row.data not in missing]


def measure(data: str, every: list[rows.Row], results: tables.Results, workdir: Path, folder: str, programs) -> bool:
    """Puts speed and number of steps on file, of all rows of a data set that lack them; False where that failed.

    What is compared is measured at one time: all networks of the set, whichever are to be run now. One that came later is
    measured in turn with those on file, and counts by what it takes beside them.
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
        # The machine may not be as fast as it was.
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
            num_steps=rows.steps_in(row.minutes, speeds[row.experiment.beside or row.variant][0]),
            seconds_per_step=f"{seconds:.4f}",
            parameters=parameters,
        )
    return True


def run_row(row: rows.Row, results: tables.Results, workdir: Path, folder: str, programs) -> bool:
    """Trains and scores one row, or goes on with it; False where that was stopped or failed."""
    num_steps, split = int(results[row.name]["num_steps"]), rows.DATA[row.data].split
    run, begin = workdir / row.name, time.time()
    scores = run / "eval" / f"{split}.json"
    print(f"\n== {row.name}: {num_steps} steps", flush=True)
    marks = dict.fromkeys([*results[row.name].get("commit", "").split(), code_mark()])
    # On file before the start: the code may change while it runs.
    results.update(row.name, commit=" ".join(marks))
    failed = programs.run("run_train.py", f"--workdir={run}", *rows.train_flags(row, num_steps, folder))
    # A training scores test where there is one.
    if not failed and not (scores.exists() and scores.stat().st_mtime >= begin):
        failed = programs.run("run_eval.py", f"--workdir={run}", f"--split={split}")
    wall = float(results[row.name].get("wall_minutes", 0)) + (time.time() - begin) / 60
    results.update(row.name, wall_minutes=f"{wall:.2f}")
    if not failed:
        results.update(row.name, **describe(row, run, num_steps))
    return not failed


def describe(row: rows.Row, run: Path, num_steps: int) -> dict:
    """The columns of a finished run, from what it left in its folder."""
    # On use: what runs nothing needs no jax.
    from unet_jax.tracking.metrics_file import read_metrics

    split = rows.DATA[row.data].split
    scored = json.loads((run / "eval" / f"{split}.json").read_text())
    start = json.loads((run / "versions.json").read_text())["starts"][-1]
    lines = read_metrics(run / "metrics.jsonl")
    # Each line is about the steps since the one before.
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
    """The commit, with a "+" where what a run depends on differs from it, new files included; "unknown" without git.

    The results, which every run changes, do not count.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "unet_jax", "configs", "run_train.py", "run_eval.py")
        return git("rev-parse", "HEAD")[:12] + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_tables(every: list[rows.Row], results: tables.Results) -> None:
    """The tables into README.md and docs/explanation/results.md, which name the CSV: it is made where it is not there.

    The tables of another file than the project's own are printed.
    """
    if results.path.resolve() != RESULTS:
        known = [row for row in every if results[row.name]]
        print(f"\n{tables.summary(known, results)}\n\n{tables.runs(known, results)}")
        return
    if not RESULTS.exists():
        results.write()
    tables.rewrite(ROOT / "README.md", "results", tables.summary(every, results))
    tables.rewrite(RESULTS_PAGE, "runs", tables.runs(every, results))
    tables.rewrite(RESULTS_PAGE, "beside", tables.beside(every, results))
    shown = [f"![The {name} image](../images/{_picture(name).name})" for name in SHOWN if _picture(name).exists()]
    tables.rewrite(RESULTS_PAGE, "pictures", "\n\n".join(shown) or "Not made yet.")
    print("tables written: README.md, docs/explanation/results.md")


def copy_pictures(every: list[rows.Row], results: tables.Results, workdir: Path) -> None:
    """Names the best, median and worst image of the first U-Net++ run of each set; those of the synthetic set to docs/images/."""
    for data, about in rows.DATA.items():
        row = next(row for row in every if row.data == data and row.variant == "unet_pp")
        folder = workdir / row.name / "eval" / about.split
        if not (results.done(row.name) and all((folder / f"{name}.png").exists() for name in SHOWN)):
            print(f"{data}: {row.name} is not done in {workdir}, so it has no pictures")
            continue
        print(f"{data}: {', '.join(str(folder / f'{name}.png') for name in SHOWN)}")
        # Synthetic images may be shown.
        if not about.folder and results.path.resolve() == RESULTS:
            for name in SHOWN:
                shutil.copyfile(folder / f"{name}.png", _picture(name))


def _picture(name: str) -> Path:
    return ROOT / "docs" / "images" / f"electrodes_{name}.png"


def run_all(chosen, every, results: tables.Results, workdir: Path, folders: dict[str, str]) -> list[str]:
    """Runs those of the `chosen` rows that are not done, and returns the names of those that are not done after it."""
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
                    # What one row left is not as it should be; the others go on.
                    traceback.print_exc()
    return [row.name for row in chosen if not results.done(row.name)]


def main() -> None:
    values = flags.FLAGS
    results, workdir = tables.Results(values.results), Path(values.workdir).expanduser().absolute()
    if values.claims:
        with Programs() as programs:
            left = claims.run_all(values.only, results, workdir, programs)
        if left:
            print(f"\nnot done: {', '.join(left)}", file=sys.stderr)
            sys.exit(1)
        return
    chosen, every = rows.select(values.only, values.minutes), rows.select(minutes=values.minutes)
    folders = {
        name: str(Path(values[name].value).expanduser().absolute()) if values[name].value else "" for name in FOLDERS
    }
    if values.minutes and results.path.resolve() == RESULTS:
        raise UserError("--minutes is for a trial, which has no place among the results: give --results=FILE.csv, too")
    if values.list:
        for row in chosen:
            state = "done" if results.done(row.name) else tables.NOT_RUN
            steps = int(results[row.name].get("num_steps", 0))
            flags_ = " ".join(rows.train_flags(row, steps)) if steps else "(number of steps not measured yet)"
            print(f"{row.name}  [{state}]  {flags_}")
        return
    if values.table or values.pictures:
        if values.pictures:
            copy_pictures(every, results, workdir)
        write_tables(every, results)
        return
    chosen = check_folders(chosen, folders, explicit=values.only != "*")
    left = run_all(chosen, every, results, workdir, folders)
    write_tables(every, results)
    if left:
        print(f"\nnot done: {', '.join(left)}; the same command goes on with them", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main, __doc__)
