"""The sheet shows each mask over its image, images of every split, and no more tiles than it has room for."""

import numpy as np
import pytest

from unet_jax.data.check import contact_sheet
from unet_jax.data.check.survey import survey_folder
from unet_jax.plotting import drawing

# Height of the strip above a tile, in pixels.
TITLE = 26


@pytest.fixture
def survey(folder):
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 20:40] = 1
    mask[:5] = 255
    for index in range(40):
        folder.pair(f"i{index:02}", np.full((40, 60), 100, np.uint8), mask)
    splits = ["train"] * 36 + ["val"] * 3 + ["test"]
    folder.write("index.csv", "id,split\n" + "".join(f"i{i:02},{split}\n" for i, split in enumerate(splits)))
    return survey_folder(str(folder.root))


def test_masks_lie_over_their_images(survey):
    tile = contact_sheet.draw_sheet(survey)[TITLE : TITLE + contact_sheet.TILE, : contact_sheet.TILE]
    # The image of 40 x 60 pixels is enlarged four times.
    top = (contact_sheet.TILE - 160) // 2
    # The corner of the outline.
    assert tile[top + 40, 80].tolist() == list(drawing.FOREGROUND[0])
    assert tile[top + 30, 80].tolist() == [100] * 3
    assert tile[top + 80, 120].tolist() == np.rint(0.85 * 100 + 0.15 * np.array(drawing.FOREGROUND[0])).tolist()
    # Void is greyed out.
    assert tile[top + 4, 120].tolist() == [int(0.3 * 100 + 0.7 * 90)] * 3
    assert tile[top - 2, 120].tolist() == list(drawing.PAPER)


def test_every_split_is_shown(survey):
    chosen = contact_sheet.choose_images(survey, 24)
    assert len(chosen) == 24
    assert [sum(image.split == split for image in chosen) for split in ("train", "val", "test")] == [21, 2, 1]
    assert chosen[0].row.id == "i00"
    assert chosen[20].row.id == "i35"
    picture = contact_sheet.draw_sheet(survey)
    width = contact_sheet.COLUMNS * (contact_sheet.TILE + drawing.GAP)
    assert (picture.shape[1], picture.shape[0] // (contact_sheet.TILE + TITLE)) == (width, 4)


def test_pairs_stand_side_by_side(folder):
    image = np.random.default_rng(0).integers(0, 256, (500, 300)).astype(np.uint8)
    folder.pair("a", image, np.ones_like(image)), folder.pair("b", image, np.ones_like(image))
    folder.write("index.csv", "id,split\na,train\nb,val\n")
    picture = contact_sheet.draw_alike_sheet(survey_folder(str(folder.root)))
    assert picture.shape == (contact_sheet.TILE + TITLE, 2 * (contact_sheet.TILE + drawing.GAP), 3)
    left, right = (picture[TITLE:, i * (contact_sheet.TILE + drawing.GAP) :][:, : contact_sheet.TILE] for i in (0, 1))
    np.testing.assert_array_equal(left, right)
    assert left.std() > 10


def test_a_folder_with_one_split_or_none(folder):
    for id_ in "abc":
        folder.pair(id_)
    folder.write("index.csv", "id,split\n" + "".join(f"{id_},test\n" for id_ in "abc"))
    assert [image.row.id for image in contact_sheet.choose_images(survey_folder(str(folder.root)), 24)] == [
        "a",
        "b",
        "c",
    ]
    folder.write("index.csv", "no columns\n")
    assert [image.row.id for image in contact_sheet.choose_images(survey_folder(str(folder.root)), 24)] == [
        "a",
        "b",
        "c",
    ]
