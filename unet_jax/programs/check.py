"""Looks at a folder of images and masks before a training: what would be refused, what to be warned of, what is in it.

    python -m unet_jax.programs.check FOLDER
    python -m unet_jax.programs.check FOLDER --out=OUT                 # also writes what can be seen
    python -m unet_jax.programs.check FOLDER --masks_dir=masks3 --class_names="('background', 'stack', 'plate')"

The flags are the keys of `data` of the same names (configs/default.py). The tables go to stdout with a line "warning: ..."
for what is worth a look; a line "error: ..." on stderr is what training would refuse.

OUT gets sheet.png (images with outlined masks), alike.png (pairs of images that look alike across splits, if there are
any) and check.json (every refusal and warning, the thousand pairs most alike, and the number of all such pairs).

Status: 0 if training would begin, warnings or not; 1 with --strict if there is a warning; 2 if it would refuse the folder,
or if OUT cannot be written, which is told last.
"""

import sys

from absl import flags
from etils.epath import Path
from ml_collections.config_flags.tuple_parser import TupleParser

from unet_jax.data.check import contact_sheet, report
from unet_jax.data.check.dataset_warnings import find_warnings
from unet_jax.data.check.survey import Survey, survey
from unet_jax.errors import UserError
from unet_jax.plotting import drawing
from unet_jax.runtime import cli
from unet_jax.storage import json_file, paths
from unet_jax.storage.write_errors import report_write_errors


def _tuple(name: str, default: tuple, text: str):
    return flags.DEFINE(TupleParser(), name, default, text, serializer=flags.ArgumentSerializer())


OPTIONS = {
    "masks_dir": flags.DEFINE_string("masks_dir", "masks", "Folder of masks in FOLDER."),
    "class_names": _tuple("class_names", (), "By class id, e.g. \"('background', 'plate')\"."),
    "num_classes": flags.DEFINE_integer("num_classes", 0, "0: as many as names, else the largest id found + 1."),
    "mask_values": _tuple("mask_values", (), 'Pixel values of class 0, 1, ..., e.g. "(0, 255)"; none if they are ids.'),
    "palette": _tuple("palette", (), 'An RGB triple per class, for RGB masks, e.g. "((0, 0, 0), (255, 0, 0))".'),
    "split_file": flags.DEFINE_string("split_file", "", "A CSV in place of index.csv, of all or some images."),
    "split_fractions": _tuple("split_fractions", (0.7, 0.15, 0.15), "Of train, val and test where no such file says."),
}
PATCH = _tuple("patch", (96, 96), "Height and width of a training window, as data.patch.")
OUT = flags.DEFINE_string("out", None, "Folder for sheet.png, alike.png and check.json.")
STRICT = flags.DEFINE_bool("strict", False, "End with status 1 if there is a warning.")


def main(root: str) -> None:
    window = PATCH.value
    if len(window) != 2 or not all(isinstance(n, int) and n > 0 for n in window):
        raise UserError(f"--patch={window}: give (height, width) in pixels, two whole numbers above 0")
    out = None if OUT.value is None else paths.expand(OUT.value, "--out")
    found = survey(root, **{name: flag.value for name, flag in OPTIONS.items()})
    warnings = find_warnings(found, window)
    if found.looks:
        print(f"{root}\n\n{report.format_survey(found)}\n")
    for line in warnings:
        print(f"warning: {line}")
    counted = ", ".join(_counted(n, what) for n, what in ((len(found.refusals), "refusal"), (len(warnings), "warning")))
    print(f"{counted}: {'training would not begin' if found.refusals else 'training can begin'}", flush=True)
    for line in report.shorten(found.refusals):
        print(f"error: {line}", file=sys.stderr)
    if out is not None:  # last: a folder that cannot be written hides nothing of the above
        print(f"written: {', '.join(map(str, _write(found, warnings, out)))}")
    sys.exit(2 if found.refusals else int(STRICT.value and bool(warnings)))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _write(found: Survey, warnings: list[str], out: Path) -> list[Path]:
    """Writes what there is to see, and takes away what a check before this one saw there."""
    pictures = {
        "sheet.png": contact_sheet.draw_sheet if found.looks else None,
        "alike.png": contact_sheet.draw_alike_sheet if found.alike else None,
    }
    written = []
    with report_write_errors():
        out.mkdir(parents=True, exist_ok=True)
        for name, draw in pictures.items():
            (out / name).unlink(missing_ok=True)
            if draw:
                drawing.save(draw(found), out / name)
                written.append(out / name)
        alike = [[found.looks[i].row.id, found.looks[j].row.id, round(r, 4)] for i, j, r in found.alike]
        report = {"refusals": list(map(str, found.refusals)), "warnings": warnings, "alike": alike}
        report["num_alike"] = found.num_alike
        json_file.write(out / "check.json", report, indent=1)
    return [*written, out / "check.json"]


if __name__ == "__main__":
    cli.run(main, __doc__, arguments=("FOLDER",))
