"""The results on file become tables and pictures of the docs."""

import pytest

from benchmarks import evidence, rows, tables
from unet_jax.configs import default
from unet_jax.errors import UserError


def test_tables_show_mean_and_spread_of_what_was_run(work):
    # Runs on a fraction of the images do not change the line of the others.
    work("electrodes-unet-*")
    _, results, _ = work("electrodes-unet_pp-2min-seed0")
    lines = tables.summary(rows.ROWS, results).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({len(line) for line in cells}) == 1
    unet, deep = cells[2:4]
    assert unet[:3] == ["`electrodes`, test", "U-Net", "1,000"]
    assert unet[4:] == ["480", "anode 0.910 ± 0.010, cathode 0.930 ± 0.010", "0.920 ± 0.010", "0.890 ± 0.010", "3"]
    assert deep[5:] == ["anode 0.900, cathode 0.920", "0.910", "0.880", "1 of 3"]
    given = [line for line in lines if "given, not run" in line]
    assert len(given) == len(rows.REFERENCES)
    assert len(lines) == 4 + len(given)
    assert "| stack 0.806, plate 0.761 | 0.784 | - |" in given[0]
    per_run = tables.runs(rows.ROWS, results).splitlines()
    assert per_run[2].startswith("| `electrodes-unet-2min-seed0` | 480 | 0.2500 | 2.00 |")
    assert len(per_run) == 2 + 10


def test_a_score_that_one_seed_lacks_is_left_out_of_the_table(work):
    _, results, _ = work("electrodes-unet-*")
    results.update("electrodes-unet-2min-seed1", **{"iou_pooled/anode": "nan"})
    line = tables.summary(rows.ROWS, results).splitlines()[2]
    assert "anode -, cathode 0.930 ± 0.010" in line


def test_the_highlights_are_rows_and_the_others_are_left_out(work):
    assert set(rows.HIGHLIGHTS) <= {(row.data, row.variant, row.minutes) for row in rows.ROWS}
    _, results, _ = work("electrodes-*-seed0")
    lines = tables.highlights(rows.ROWS, results).splitlines()
    assert lines[2:] == [
        "| `electrodes`, test | U-Net | 1,000 | 2 | 480 | 0.910 | 1 of 3 |",
        "| `electrodes`, test | U-Net++, deep supervision | 1,000 | 2 | 240 | 0.910 | 1 of 3 |",
    ]


def test_gains_are_those_over_the_same_seed(work):
    _, results, _ = work("battery_xray-unet*-2min-seed*")
    for name, score in (("unet-2min-seed0", 0.8), ("unet_ema-2min-seed0", 0.82), ("unet-2min-seed1", 0.7)):
        results.update(f"battery_xray-{name}", **{"iou_pooled/mean": score})
    results.update("battery_xray-unet_ema-2min-seed1", **{"iou_pooled/mean": 0.71})
    results.update("battery_xray-unet_ema-2min-seed2", **{"iou_pooled/mean": ""})
    table = tables.additions(rows.ROWS, results)
    assert "| `battery_xray` | U-Net, moving average of the weights | +0.020, +0.010 | +0.015 ± 0.007 |" in table
    assert "`nuclei`" not in table


def test_rewrite_changes_what_is_between_the_marks_alone(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- results -->\nold\n<!-- /results -->\nb <!-- runs -->\n")
    tables.rewrite(path, "results", "new\nlines")
    assert path.read_text() == "a\n<!-- results -->\nnew\nlines\n<!-- /results -->\nb <!-- runs -->\n"
    tables.rewrite(path, "results", "newer")
    assert path.read_text().count("new") == 1
    path.write_text("<!-- results -->\n<!-- /results -->\n")
    tables.rewrite(path, "results", "new")
    assert path.read_text() == "<!-- results -->\nnew\n<!-- /results -->\n"
    with pytest.raises(UserError, match="<!-- other -->"):
        tables.rewrite(path, "other", "x")


def test_the_docs_hold_the_tables_of_the_results_on_file():
    # The docs name the file.
    assert evidence.RESULTS.exists()
    results = tables.Results(evidence.RESULTS)
    written = (
        ("README.md", "results", tables.highlights),
        ("docs/explanation/results.md", "results", tables.summary),
        ("docs/explanation/results.md", "runs", tables.runs),
        ("docs/explanation/results.md", "additions", tables.additions),
    )
    for name, mark, table in written:
        assert f"<!-- {mark} -->\n{table(rows.ROWS, results)}\n<!-- /{mark} -->" in (rows.ROOT / name).read_text()
    assert "not run |" not in evidence.RESULTS_PAGE.read_text()


def test_a_file_of_results_is_made_before_there_are_any(tmp_path, monkeypatch):
    path = tmp_path / "results.csv"
    monkeypatch.setattr(evidence, "RESULTS", path)
    monkeypatch.setattr(tables, "rewrite", lambda *_: None)
    evidence.write_tables(rows.select(), tables.Results(path))
    assert path.read_text() == ",".join(tables.COLUMNS) + "\n"
    results = tables.Results(path)
    assert not any(results.done(row.name) or results[row.name] for row in rows.ROWS)
    assert len(tables.summary(rows.ROWS, results).splitlines()) == 2 + len(rows.REFERENCES)
    results.update("electrodes-unet-2min-seed0", num_steps=3)
    evidence.write_tables(rows.select(), tables.Results(path))
    assert tables.Results(path)["electrodes-unet-2min-seed0"]["num_steps"] == "3"


def test_pictures_of_the_synthetic_set_alone_go_to_the_docs(work, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rows, "create_config", lambda *_: default.get_config())
    for pattern in ("electrodes-unet_pp-2min-seed0", "em*"):
        _, results, _ = work(pattern)
        run = tmp_path / "runs" / rows.select(pattern)[0].name / "eval" / ("val" if "em" in pattern else "test")
        run.mkdir()
        for name in evidence.SHOWN:
            (run / f"{name}.png").write_text(f"{name} of {pattern}")
    copied = tmp_path / "docs"
    copied.mkdir()
    monkeypatch.setattr(evidence, "RESULTS", results.path)
    monkeypatch.setattr(evidence, "_picture", lambda name: copied / f"electrodes_{name}.png")
    evidence.copy_pictures(rows.select(), results, tmp_path / "runs")
    pictures = {path.name: path.read_text() for path in copied.iterdir()}
    assert pictures == {f"electrodes_{name}.png": f"{name} of electrodes-unet_pp-2min-seed0" for name in evidence.SHOWN}
    printed = capsys.readouterr().out
    assert "em-unet_pp-25min-seed0/eval/val/worst.png" in printed
    assert "nuclei-unet_pp-25min-seed0 is not done" in printed
