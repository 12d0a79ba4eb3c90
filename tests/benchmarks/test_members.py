"""What heads, views and networks gain: the runs that are taken, the compared scores, and the tables."""

from pathlib import Path

import pytest

from benchmarks import evidence, members, rows, tables


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(members, "ROUNDS", 1)
    monkeypatch.setattr(members, "TIMED_IMAGES", 1)


def test_the_runs_of_a_data_set_differ_in_the_seed_alone():
    for data in members.DATA:
        chosen = members.rows_of(data)
        assert [row.seed for row in chosen] == [0, 1, 2]
        assert {(row.data, row.variant, row.minutes, row.train_fraction) for row in chosen} == {(data, "unet_pp", 5, 1)}


def test_a_data_set_is_measured_when_all_its_runs_are_done(tmp_path, monkeypatch, capsys):
    results = tables.Results(tmp_path / "results.csv")
    names = [row.name for data in ("electrodes", "nuclei") for row in members.rows_of(data)]
    for name in names:
        (tmp_path / name).mkdir()
    # The last one is not done.
    for name in names[:-1]:
        results.update(name, **{"iou_pooled/mean": 0.9})
    measured = {}
    monkeypatch.setattr(members, "run_all", lambda folders: measured.update(folders) or [("members", "| a table |")])
    monkeypatch.setattr(evidence.adaptive, "run_all", lambda folders, picture: [("adaptive", f"| {picture.parent} |")])
    assert evidence.write_members(results, tmp_path) == ["battery_xray", "nuclei"]
    assert measured == {"electrodes": [tmp_path / name for name in names[:3]]}
    # Another file of results changes neither the page nor its picture.
    printed = capsys.readouterr().out
    assert "| a table |" in printed
    assert f"| {tmp_path} |" in printed


def test_the_page_has_a_place_for_each_table():
    page = evidence.RESULTS_PAGE.read_text()
    for mark in ("members", "uncertainty", "adaptive"):
        assert f"<!-- {mark} -->" in page
        assert f"<!-- /{mark} -->" in page


def test_the_first_cell_tells_what_an_interval_is_over():
    examples = [{"group": group} for group in ("a", "b", "c")]
    assert members.images_of("nuclei", examples) == "`nuclei`, 3"
    assert members.images_of("nuclei", [*examples, {"group": "a"}]) == "`nuclei`, 4 in 3 groups"


def test_gains_are_measured_against_one_head_on_the_same_images(trained, quick, monkeypatch, capsys):
    workdir = Path(trained[0])
    ways = [way for way in members.WAYS if way.name in ("one head", "flips", "three networks")]
    monkeypatch.setattr(members, "WAYS", ways)
    lines = {line[1]: line for line in members.gains("electrodes", [workdir])}
    capsys.readouterr()
    assert list(lines) == [way.name for way in ways]
    assert lines["one head"][4:] == ["-", "1"]
    # An ensemble of one network is that network.
    assert lines["three networks"][2:4] == lines["one head"][2:4]
    assert lines["three networks"][4] == "+0.000 (+0.000 to +0.000)"
    gain = float(lines["flips"][4].split()[0])
    assert gain == pytest.approx(float(lines["flips"][3]) - float(lines["one head"][3]), abs=0.0011)


def test_views_that_a_network_was_not_trained_on_are_left_out(trained, quick, monkeypatch, capsys):
    monkeypatch.setattr(members, "WAYS", (members.WAYS[0], members.Way("sideways", "fast", "unknown")))
    assert [line[1] for line in members.gains("electrodes", [Path(trained[0])])] == ["one head"]
    assert "electrodes: sideways is left out: views 'unknown' is unknown" in capsys.readouterr().out


def test_uncertainty_is_compared_with_the_true_scores(trained, quick, monkeypatch):
    monkeypatch.setattr(members, "UNCERTAIN_WAYS", members.UNCERTAIN_WAYS[:1])
    lines = members.failures("electrodes", [Path(trained[0])])
    assert [line[2] for line in lines] == ["entropy", "mutual_information", "pairwise_dice"]
    assert all(len(line) == len(members.FAILURE_TITLES) for line in lines)
    assert all(-1 <= float(line[3]) <= 1 and line[4].endswith("%") for line in lines)


def test_the_mean_over_networks_has_their_spread():
    def found(correlation, part, others):
        coverage = [
            {"looked_at": 0.1, "failures_found": 0.0, "iou_of_the_others": 0.1},
            {"looked_at": 0.2, "failures_found": part, "iou_of_the_others": others},
        ]
        return {"entropy": {"spearman": correlation, "risk_coverage": coverage}}

    described = [found(0.5, 0.25, 0.9), found(0.7, 0.75, 0.8)]
    assert members.found_cells(described, "entropy", [0.6, 0.8]) == ["0.60 ± 0.14", "50%", "0.700", "0.850"]
    assert members.found_cells(described[:1], "entropy", [0.6]) == ["0.50", "25%", "0.600", "0.900"]


def test_the_rows_are_trained_by_the_evidence():
    assert {row.name for data in members.DATA for row in members.rows_of(data)} <= {row.name for row in rows.select()}
