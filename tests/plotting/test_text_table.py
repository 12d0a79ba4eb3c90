"""Tables as text: columns aligned to one side, lines of dashes where they are asked for."""

from unet_jax.plotting.text_table import format_table

ROWS = [("", "IoU", "note"), ("anode", "0.5", "a"), ("x", "12.25", "")]


def test_the_first_column_is_set_left_the_others_right():
    assert format_table(ROWS).split("\n") == ["         IoU  note", "anode    0.5     a", "x      12.25"]


def test_chosen_columns_are_set_left():
    assert format_table(ROWS, left=(1, 2)).split("\n") == ["       IoU    note", "anode  0.5    a", "    x  12.25"]


def test_rules_stand_above_their_rows_and_span_the_table():
    dashes = "-" * 18
    expected = ["         IoU  note", dashes, "anode    0.5     a", dashes, "x      12.25"]
    assert format_table(ROWS, rules=(1, 2)).split("\n") == expected
