"""The claims as commands on the runs of the evidence: which runs they take, and what they write to the page."""

import importlib.util

import pytest

from benchmarks import claims, tables
from unet_jax.errors import UserError


class FakePrograms:
    """Replaces the programs: remembers the commands, prints a table and leaves a picture."""

    def __init__(self, picture, status=0):
        self.commands, self.picture, self.status = [], picture, status

    def run(self, *command, output):
        self.commands.append(command)
        output.write_text(f"a table of {command[2]}\nwritten: {output.parent}/x.csv\n")
        output.with_name(self.picture).write_bytes(b"picture")
        return self.status


@pytest.fixture
def done(tmp_path, monkeypatch):
    """Returns a function that marks runs as done, and gives results, folder and page."""
    page = tmp_path / "docs" / "claims.md"
    page.parent.mkdir()
    monkeypatch.setattr(claims, "PICTURES", page.parent)
    page.write_text(
        "before\n" + "\n".join(f"<!-- {c.name} -->\nnone\n<!-- /{c.name} -->" for c in claims.CLAIMS) + "\nafter\n"
    )
    monkeypatch.setattr(claims, "PAGE", page)
    results = tables.Results(tmp_path / "results.csv")

    def mark(*names):
        for name in names:
            results.update(name, **{"iou_pooled/mean": 0.9})
            (tmp_path / "runs" / name).mkdir(parents=True)
        return results, tmp_path / "runs", page

    return mark


def test_every_claim_has_rows_and_a_command():
    for claim in claims.CLAIMS:
        assert claim.matching_rows()
        assert importlib.util.find_spec(f"unet_jax.programs.{claim.program}")
        assert len({row.data for row in claim.matching_rows()}) == 1
    assert {row.name for row in claims.CLAIMS[0].matching_rows()} == {
        f"electrodes-{name}-2min-seed0" for name in ("fcn", "unet", "unet_pp")
    }


def test_a_claim_is_made_of_the_runs_that_are_done(done):
    results, workdir, page = done(
        *(f"battery_xray-{name}-2min-seed{seed}" for name in ("unet", "unet_pp") for seed in (0, 1)),
        *(f"battery_xray-{name}-2min-seed0-share{share}" for name in ("unet", "unet_pp") for share in (0.25, 0.5)),
    )
    programs = FakePrograms("gap.png")
    assert claims.run_all("gap-*", results, workdir, programs) == ["gap-electrodes"]
    (command,) = programs.commands
    assert command[:2] == ("-m", "unet_jax.programs.compare")
    assert sum(argument.startswith(str(workdir)) for argument in command) == 8
    text = page.read_text()
    assert "$ unet-jax compare runs/evidence/battery_xray-unet-2min-* " in text
    assert "a table of" in text
    assert "runs/evidence/battery_xray-unet-2min-seed0 " not in text
    assert "written" not in text
    assert str(workdir) not in text
    assert page.with_name("claim_gap-battery_xray.png").read_bytes() == b"picture"


def test_a_claim_without_its_runs_or_that_fails_is_not_written(done):
    results, workdir, page = done("battery_xray-unet-2min-seed0")
    assert claims.run_all("reuse-battery*", results, workdir, FakePrograms("reuse.png")) == ["reuse-battery_xray"]
    results, workdir, page = done("battery_xray-unet_pp-20min-seed0")
    before = page.read_text()
    assert claims.run_all("reuse-battery*", results, workdir, FakePrograms("reuse.png", 1)) == ["reuse-battery_xray"]
    assert page.read_text() == before
    assert claims.run_all("reuse-battery*", results, workdir, FakePrograms("reuse.png")) == []
    assert "--workdir=runs/evidence/battery_xray-unet_pp-20min-seed0" in page.read_text()
    with pytest.raises(UserError, match=r"--only=x\*.*skips-electrodes"):
        claims.run_all("x*", results, workdir, FakePrograms("x"))


def test_the_page_has_a_place_for_every_claim():
    text = (claims.PAGE).read_text()
    for claim in claims.CLAIMS:
        assert f"<!-- {claim.name} -->\n" in text
        assert f"\n<!-- /{claim.name} -->" in text
