"""What a network marks beside plates is no plate: lines, slivers that do not fit the pitch, and parts of the case."""

import numpy as np
import pytest

from unet_jax.errors import UserError
from unet_jax.measurement.plates.find import find_plates
from unet_jax.measurement.plates.roles import Roles, find_roles


def stack(num=7):
    """Returns ids of bars 4 px thick at a pitch of 7 px from the left border; the first one begins at row 7."""
    ids = np.zeros((64, 80), np.uint8)
    for place in range(num):
        top = 7 + place * 7
        ids[top : top + 4, : (60, 45)[place % 2]] = 1 + place % 2
    return ids


def counts(ids):
    masks = np.arange(3) == ids[..., None]
    plates = find_plates(masks, masks, (1, 2)).plates
    return tuple(sum(plate.kind == kind for plate in plates) for kind in (0, 1))


def test_a_sliver_at_the_border_counts_where_the_next_plate_would_be():
    ids = stack()
    assert counts(ids) == (4, 3)
    # Rows 0 to 3 would hold the next cathode: its last rows are seen when the image begins there.
    ids[0:4, :45] = 2
    assert counts(ids) == (4, 4)
    assert counts(ids[3:]) == (4, 4)


def test_a_sliver_far_from_the_stack_is_none():
    ids = stack(5)
    # The stack ends at row 38, and the sliver is at row 63.
    ids[-1, :45] = 2
    assert counts(ids) == (3, 2)


def test_a_thin_line_in_the_place_of_a_missing_plate_is_none():
    ids = stack()
    ids[14:18] = 0
    ids[16, :45] = 2
    assert counts(ids) == (4, 2)


def test_a_bar_that_runs_to_the_other_border_is_of_the_case():
    ids = stack(5)
    ids[50:54] = 1
    assert counts(ids) == (3, 2)


def test_a_wall_at_the_other_border_does_not_turn_the_image():
    ids = stack()
    ids[:, 78:] = 1
    assert counts(ids) == (4, 3)


def test_a_plate_of_two_classes_is_one_plate():
    ids = stack()
    ids[21:25, :25] = 2
    assert counts(ids) == (4, 3)


def test_roles_are_found_by_name_or_given():
    assert find_roles(("bg", "Negative", "Positive")) == Roles("Negative", "Positive")
    assert find_roles(("bg", "a", "b"), anode="a", cathode="b") == Roles("a", "b")
    with pytest.raises(UserError, match="--anode=x: there is no such class; choose from bg, anode"):
        find_roles(("bg", "anode"), anode="x")
    with pytest.raises(UserError, match="no class of bg, nucleus is named anode"):
        find_roles(("bg", "nucleus"))
    with pytest.raises(UserError, match="a class has one role"):
        find_roles(("bg", "anode"), anode="anode", cathode="anode")
