"""The report: fractions by split, the most frequent sizes, and only a few errors of each kind."""

import re

import numpy as np
from helpers.image_folders import GREY

from unet_jax.data.check import report
from unet_jax.data.check.survey import survey_folder
from unet_jax.errors import UserError


def test_fractions_and_sizes(folder):
    mask = np.zeros((12, 10), np.uint8)
    mask[:3] = 1
    mask[3:6] = 255
    for id_ in "abc":
        folder.pair(id_, GREY, mask)
    for index in range(8):
        folder.pair(f"d{index}", np.zeros((20, 21 + index), np.uint8), np.zeros((20, 21 + index), np.uint8))
    rows = "".join(f"d{index},test,g\n" for index in range(8))
    folder.write("index.csv", f"id,split,group\na,train,1\nb,train,1\nc,val,2\n{rows}")
    text = report.format_survey(survey_folder(str(folder.root)))
    cells = {re.split(r"\s{2,}", line)[0]: re.split(r"\s{2,}", line)[1:] for line in text.splitlines() if line}
    assert cells[""] == ["train", "val", "test", "all"]
    assert cells["images"] == ["2", "1", "8", "11"]
    assert cells["groups"] == ["1", "1", "1", "3"]
    assert cells["0 background"][:3] == ["66.67%", "66.67%", "100.00%"]
    assert cells["1 class_1"][:3] == ["33.33%", "33.33%", "-"]
    assert cells["void, of all pixels"][:3] == ["25.00%", "25.00%", "-"]
    assert cells["only background"] == ["0", "0", "8", "8"]
    assert cells["12 x 10"] == ["3"]
    assert cells["8 others"] == ["8"]
    assert "height 12..20 (median 20), width 10..28 (median 23)" in text
    assert "pixels uint8, grey (11)" in text


def test_errors_with_one_remedy_are_shortened():
    errors = [UserError(f"{name}.png: is broken; export it") for name in range(7)] + [UserError("x: y; do z")]
    assert report.shorten(errors) == [
        *map(str, errors[:3]),
        "... and 4 more of this kind; export it",
        "x: y; do z",
    ]
