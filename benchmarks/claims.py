"""The claims of the networks' papers as commands on the runs of the evidence, with what they print and draw.

    python benchmarks/evidence.py --claims

runs those whose runs are done, and puts commands, tables and pictures into docs/explanation/claims.md, between the marks that stand
there; `--only=PATTERN` chooses by their names.
"""

import dataclasses
import fnmatch
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks import rows, tables
from unet_jax.errors import UserError

PAGE = rows.ROOT / "docs" / "explanation" / "claims.md"
PICTURES = rows.ROOT / "docs" / "images"
# The folder of the runs, as the page writes it.
RUNS = "runs/evidence"


@dataclasses.dataclass(frozen=True)
class Claim:
    """A command of `unet-jax` on runs: patterns of their names, its other arguments, and the picture it draws."""

    name: str
    module: str
    runs: tuple[str, ...]
    picture: str
    arguments: tuple[str, ...] = ()
    # The runs are positional arguments, not --workdir.
    positional: bool = False

    def matching_rows(self) -> list[rows.Row]:
        """Returns the rows it is about, in the order of its patterns."""
        every = [row for pattern in self.runs for row in rows.ROWS if fnmatch.fnmatch(row.name, pattern)]
        return list(dict.fromkeys(every))

    def command(self, folder: str, names: Sequence[str], out: str) -> list[str]:
        """Returns what follows `python`."""
        given = [f"{folder}/{name}" if self.positional else f"--workdir={folder}/{name}" for name in names]
        return ["-m", f"unet_jax.programs.{self.module}", *given, *self.arguments, f"--out={out}"]


def _names(data: str, *variants: str) -> tuple[str, ...]:
    return tuple(f"{data}-{variant}-2min-seed0" for variant in variants)


PLAIN_AND_NESTED = _names("electrodes", "unet", "unet_pp")
LONGER = ("battery_xray-unet-2min-seed0", "battery_xray-unet_pp-20min-seed0")
OF_ALL_FRACTIONS = ("{}-{}-2min-seed?", "{}-{}-2min-seed?-share*")
CLAIMS = (
    Claim(
        "skips-electrodes",
        "skips",
        _names("electrodes", "fcn", "unet", "unet_pp"),
        "skips.png",
        ("--split=test", "--mean=both", "--boundary_distance=0.005"),
    ),
    Claim("skips-battery_xray", "skips", LONGER, "skips.png", ("--mean=both",)),
    Claim("similarity-electrodes", "skips", PLAIN_AND_NESTED, "similarity.png", ("--similarity", "--split=test")),
    Claim("similarity-battery_xray", "skips", LONGER, "similarity.png", ("--similarity",)),
    Claim(
        "gradients-electrodes",
        "gradients",
        _names("electrodes", "unet", "unet_pp_one_head", "unet_pp", "fc_densenet"),
        "gradients.png",
        ("--steps=0,latest",),
    ),
    Claim("reuse-electrodes", "reuse", _names("electrodes", "fc_densenet"), "reuse.png"),
    Claim("reuse-battery_xray", "reuse", LONGER[1:], "reuse.png"),
    *(
        Claim(
            f"gap-{data}",
            "compare",
            tuple(pattern.format(data, variant) for variant in variants for pattern in OF_ALL_FRACTIONS),
            "gap.png",
            ("--splits=train,val", "--overwrite"),
            positional=True,
        )
        for data, variants in rows.SHARED.items()
    ),
)


def run_all(only: str, results: tables.Results, workdir: Path, programs) -> list[str]:
    """Runs those claims whose runs are done, writes them into the page, and returns the names of the others.

    A claim over fractions and seeds needs one run that is done for every pattern. Raises UserError where `only`, a pattern of
    names, chooses none.
    """
    not_done, chosen = [], [claim for claim in CLAIMS if fnmatch.fnmatch(claim.name, only)]
    if not chosen:
        raise UserError(f"--only={only}: no such claim; there are: {', '.join(claim.name for claim in CLAIMS)}")
    for claim in chosen:
        names = [row.name for row in claim.matching_rows() if results.done(row.name) and (workdir / row.name).is_dir()]
        if not all(fnmatch.filter(names, pattern) for pattern in claim.runs):
            print(f"{claim.name}: its runs are not done in {workdir}")
            not_done.append(claim.name)
            continue
        print(f"\n== {claim.name}", flush=True)
        out = workdir / "claims" / claim.name
        out.mkdir(parents=True, exist_ok=True)
        if programs.run(*claim.command(str(workdir), names, str(out)), output=out / "printed.txt"):
            not_done.append(claim.name)
            continue
        write(claim, names, (out / "printed.txt").read_text(), workdir)
    return not_done


def write(claim: Claim, names: Sequence[str], printed: str, workdir: Path) -> None:
    """Puts a claim's command, its table and its picture between its marks of the page, the picture into docs/images."""
    out = workdir / "claims" / claim.name
    picture = PICTURES / f"claim_{claim.name}.png"
    shutil.copyfile(out / claim.picture, picture)
    _, _, *arguments = claim.command(RUNS, _shortened(names), f"{RUNS}/claims/{claim.name}")
    command = " ".join(["unet-jax", claim.module, *arguments])
    table = re.sub(r"^written: .*\n?", "", printed.replace(str(workdir), RUNS), flags=re.MULTILINE).strip()
    text = f"```text\n$ {command}\n\n{table}\n```\n\n![{claim.name}](../images/{picture.name})"
    tables.rewrite(PAGE, claim.name, text)


def _shortened(names: Sequence[str]) -> list[str]:
    """Returns the names, with one pattern in the place of the seeds and fractions of a network."""
    heads = [re.sub(r"-seed\d.*", "", name) for name in names]
    return list(
        dict.fromkeys(f"{head}-*" if heads.count(head) > 1 else name for head, name in zip(heads, names, strict=True))
    )
