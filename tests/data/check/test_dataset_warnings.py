"""Each warning is given if there is a reason for it, and only then."""

import re

import numpy as np
import pytest
from helpers.image_folders import scene

from unet_jax.data.check import duplicates
from unet_jax.data.check.dataset_warnings import find_warnings
from unet_jax.data.check.survey import survey_folder

MASK = np.zeros((90, 120), np.uint8)
MASK[20:50, 30:70] = 1
MASK[50:60, 30:70] = 2


@pytest.fixture
def clean(folder):
    """Returns a folder of six images without a reason for a warning."""
    for seed, id_ in enumerate("abcdef"):
        folder.pair(id_, scene(seed), MASK)
    folder.write("index.csv", "id,split\na,train\nb,train\nc,train\nd,train\ne,val\nf,test\n")
    return folder


def warned(folder, window=(64, 64), **options):
    survey = survey_folder(str(folder.root), **options)
    assert not survey.errors
    return find_warnings(survey, window)


def test_a_clean_folder(clean):
    assert warned(clean) == []


def test_images_alike_across_splits(clean):
    clean.pair("e", scene(0)[::-1], MASK)
    (line,) = warned(clean)
    assert " train/a and val/e (1.00);" in line
    assert "group in index.csv" in line
    clean.write("index.csv", "id,split\na,val\nb,train\nc,train\nd,train\ne,val\nf,test\n")
    assert warned(clean) == []


def test_of_many_pairs_few_are_named_and_all_are_counted(clean, monkeypatch):
    monkeypatch.setattr(duplicates, "MOST", 5)
    for id_ in "abcdef":
        clean.pair(id_, scene(0), MASK)
    (line,) = warned(clean)
    assert line.count(" (1.00), ") == 4
    assert ", ... (9 pairs);" in line


def test_classes_that_a_split_lacks(clean):
    clean.pair("e", scene(4), MASK % 2)
    (line,) = warned(clean)
    assert line.startswith("class 'class_2' (2) is not in val,")
    assert "scored" in line
    for id_ in "abcd":
        clean.write(f"masks/{id_}.png", MASK % 2)
    (line,) = warned(clean)
    assert line.startswith("class 'class_2' (2) is not in train and val,")
    assert "learnt" in line
    assert any(line.startswith("class 'class_3' (3) ") for line in warned(clean, num_classes=4))
    many = warned(clean, num_classes=9)[-1]
    assert (
        "classes 'class_3' (3), 'class_4' (4), 'class_5' (5), 'class_6' (6), ... (6 classes) are in no mask; " in many
    )


def test_masks_with_nothing_in_them(clean):
    clean.write("masks/a.png", np.full_like(MASK, 255))
    clean.write("masks/b.png", np.where(MASK == 2, 255, 0).astype(np.uint8))
    clean.write("masks/c.png", MASK * 0)
    # Elsewhere in the folder, 255 lies beside ids.
    beside = MASK.copy()
    beside[:9] = 255
    clean.write("masks/d.png", beside)
    void, with_void, empty = warned(clean)
    assert "void: train/a; " in void
    assert "background and void (255): train/b; " in with_void
    assert "background: train/c; " in empty
    for id_ in "abcdef":
        clean.write(f"masks/{id_}.png", np.where(MASK, MASK, 255).astype(np.uint8))
    assert any("of all pixels are void (255)" in line for line in warned(clean))


def test_a_background_that_is_smaller_than_the_object(clean):
    for id_ in "abcdef":
        clean.write(f"masks/{id_}.png", (MASK == 0).astype(np.uint8))
    (line,) = warned(clean)
    assert re.search(r"background \(class 0\) has only 15% .*mask_values=\(1, 0\)", line)
    (line,) = warned(clean, class_names=("background", "plate"))
    assert "exchange" in warned(clean, palette=((0, 0, 0), (255, 255, 255)))[0]
    # Whoever gives class 0 another name knows what it is.
    assert warned(clean, class_names=("plate", "gap")) == []
    assert warned(clean, mask_values=(1, 0)) == []


def test_instance_maps_that_are_masks_of_classes(clean):
    blobs = np.zeros_like(MASK)
    blobs[::9, ::9] = 255
    for id_ in "abcdef":
        clean.write(f"instances/{id_}.png", blobs)
    (line,) = warned(clean)
    assert "several separate pieces: train/a, train/b, " in line
    numbered = blobs.astype(np.uint16)
    numbered[blobs > 0] = range(1, np.count_nonzero(blobs) + 1)
    for id_ in "abc":
        clean.write(f"instances/{id_}.png", numbered)
    assert warned(clean) == []


def test_what_is_passed_over(clean):
    clean.write("images/notes.txt", "none")
    clean.write("masks/old/a.png", MASK)
    assert warned(clean) == [
        f"{clean.root}/images: passes over 1 file or folder of another kind: notes.txt",
        f"{clean.root}/masks: passes over 1 file or folder of another kind: old",
    ]


def test_sixteen_bits_that_are_hardly_used(clean):
    for seed, id_ in enumerate("abcdef"):
        clean.write(f"images/{id_}.png", scene(seed).astype(np.uint16) * 257)
    (line,) = warned(clean)
    most = max(len(np.unique(scene(seed))) for seed in range(6))
    assert re.match(rf"16-bit images .* {most} grey values", line)
    assert "train/a, train/b, train/c, train/d, ... (6 images)" in line
    fine = np.random.default_rng(0).integers(-120, 120, (90, 120, 1))
    for seed, id_ in enumerate("abcdef"):
        clean.write(f"images/{id_}.png", (scene(seed).astype(int) * 240 + 200 + fine).astype(np.uint16))
    assert warned(clean) == []
    for seed, id_ in enumerate("abcdef"):
        clean.write(f"images/{id_}.png", (scene(seed).astype(int) * 12 + 130 + fine).astype(np.uint16))
    (line,) = warned(clean)
    assert re.search(r"of 0\.\.65535; .*data\.normalize='image'", line)


def test_constant_and_small_images(clean):
    clean.write("images/a.png", np.full((90, 120), 9, np.uint8))
    (line,) = warned(clean)
    assert "one grey value: train/a; " in line
    small = warned(clean, window=(91, 64))[-1]
    assert re.search(r"smaller .* 91 x 64 .*: train/a, ", small)
    assert warned(clean, window=(90, 120)) == [line]
    assert "smaller" in warned(clean, window=(90, 121))[-1]


def test_an_empty_folder_gives_no_warning(folder):
    assert find_warnings(survey_folder(str(folder.root)), (64, 64)) == []
