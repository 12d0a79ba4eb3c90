"""A folder becomes a data set; every fault is an error of one line that names file, value and remedy."""

import os
import re
import unicodedata

import numpy as np
import pytest
from helpers.image_folders import GREY, IDS, RNG

from unet_jax.data.datasets import from_files, image_folder, listing, registry
from unet_jax.data.datasets.image_folder import load_image_folder
from unet_jax.data.store import cache
from unet_jax.errors import UserError


def test_mask_values_are_mapped_only_when_given(folder):
    folder.pair("a", mask=(IDS % 2 * 255).astype(np.uint8))
    folder.raises(r"a\.png: .*0 and 255; .*mask_values=\(0, 255\)")
    np.testing.assert_array_equal(folder.examples(mask_values=(0, 255))["a"]["mask"], IDS % 2)
    # Here 255 is void.
    np.testing.assert_array_equal(folder.examples(mask_values=(0, 1))["a"]["mask"], IDS % 2 * 255)
    folder.raises(r"a\.png: .*values 0 .*mask_values=\(7, 255\)", mask_values=(7, 255))


def test_another_folder_of_masks_and_instances(folder):
    instances = RNG.integers(0, 65536, IDS.shape).astype(np.uint16)
    folder.pair("a")
    folder.write("masks3/a.png", IDS[::-1])
    folder.write("instances/a.png", instances)
    example = folder.examples(masks_dir="masks3")["a"]
    np.testing.assert_array_equal(example["mask"], IDS[::-1])
    np.testing.assert_array_equal(example["instances"], instances)
    folder.raises("masks4: ", masks_dir="masks4")


def test_class_names_given_or_derived(folder):
    folder.pair("a")
    assert folder.create().class_names == ("background", "class_1", "class_2")
    assert folder.create(num_classes=4).class_names == ("background", "class_1", "class_2", "class_3")
    assert folder.create(class_names=["ground", "anode", "cathode"]).class_names == ("ground", "anode", "cathode")
    folder.raises("num_classes .*2.*class_names .*3", class_names="abc", num_classes=2)
    folder.raises(r"a\.png: .*ids 0, 1, 2,.* 2 classes .*0\.\.1", class_names="ab")
    folder.pair("b", mask=GREY)
    folder.raises(rf"b\.png: .*value {np.unique(GREY[GREY < 255])[-1]}; .*mask_values")


def test_bad_pairs_and_files_are_named(folder):
    folder.write("masks/x.png", IDS)
    folder.raises("/images: ")
    folder.write("images/readme.txt", "none yet")
    folder.raises(r"/images: .*\.png")
    folder.pair("a")
    folder.raises(r"masks/x\.png: .*x\.\* in .*images")
    folder.write("images/x.png", GREY)
    folder.write("images/y.png", GREY)
    folder.raises(r"images/y\.png: .*y\.\* in .*masks \(1 ")
    folder.write("masks/y.jpg", IDS)
    folder.raises(r"masks/y\.jpg: .*JPEG.*PNG")
    (folder.root / "masks/y.jpg").unlink()
    folder.write("masks/y.png", IDS[:, :9])
    folder.raises(r"masks/y\.png: .*9 x 12 .*10 x 12")
    folder.write("masks/y.png", np.dstack([IDS] * 3))
    folder.raises(r"masks/y\.png: .*\(0, 0, 0\).*palette")
    folder.raises(r"masks/y\.png: .*\(2, 2, 2\).*palette", palette=((0, 0, 0), (1, 1, 1), (9, 9, 9)))
    folder.write("masks/y.png", "")
    folder.raises(r"masks/y\.png: .*0 bytes")
    folder.write("masks/y.png", IDS)
    folder.write("images/y.tif", GREY)
    folder.raises(r"images/y\.tif: .*y\.png")
    (folder.root / "images/y.tif").unlink()
    folder.write("instances/a.png", IDS)
    folder.raises(r"images/x\.png: .*x\.\* in .*instances \(2 ")


def test_files_of_other_kinds_are_named(folder, capfd):
    folder.pair("a"), folder.pair("b")
    folder.write("images/b.ico", "a preview of b.png")
    folder.write("masks/readme.txt", "")
    folder.create()
    err = capfd.readouterr().err
    assert f"{folder.root}/images: passes over 1 file or folder of another kind: b.ico\n" in err
    assert f"{folder.root}/masks: passes over 1 file or folder of another kind: readme.txt\n" in err
    for name in "ce":
        folder.write(f"images/{name}.jxl", "")
        folder.write(f"masks/{name}.JXL", "")
    folder.raises(r"images/c\.jxl: lies there, .*not read \(2 such files .*PNG")
    for name in "ce":
        (folder.root / f"images/{name}.jxl").unlink()
        (folder.root / f"masks/{name}.JXL").unlink()
    # A mask in a kind without a name counts, because its image is there.
    folder.write("images/d.png", GREY)
    folder.write("masks/d.unknown", "")
    folder.raises(r"masks/d\.unknown: lies there")


@pytest.mark.parametrize("name", ["Index.csv", "index.CSV", "index.csv.txt", "index.xlsx"])
def test_a_table_that_is_meant_as_the_index_is_named(folder, name):
    folder.pair("a")
    folder.write(name, "id,split\na,train\n")
    folder.raises(rf"/{name}: is not read.*index\.csv")
    folder.create(split_file=str(folder.root / name))
    folder.write("index.csv", "id,split\na,train\n")
    folder.create()


def test_links_and_pipes_are_named(folder, tmp_path):
    folder.pair("a")
    index, instances = folder.root / "index.csv", folder.root / "instances"
    index.symlink_to(tmp_path / "gone.csv")
    folder.raises(r"index\.csv: is a link ")
    index.unlink()
    os.mkfifo(index)
    folder.raises(r"index\.csv: .*a pipe")
    folder.raises(r"index\.csv: .*a pipe", split_file=str(index))
    index.unlink()
    instances.symlink_to(tmp_path / "gone")
    folder.raises("instances: is not a folder")


def test_names_in_two_unicode_forms_meet(folder):
    composed, decomposed = (unicodedata.normalize(form, "gr\u00fcn") for form in ("NFC", "NFD"))
    folder.write(f"images/{decomposed}.png", GREY)
    folder.write(f"masks/{composed}.png", IDS)
    folder.write("index.csv", f"id,split,group\n{decomposed},train,{decomposed}\n")
    assert [(e["id"], e["group"]) for e in folder.examples().values()] == [(composed, composed)]


def test_a_root_that_is_not_utf8_is_named(folder):
    folder.pair("a")
    folder.root = folder.root.rename(os.fsdecode(os.fsencode(folder.root) + b"\xfc"))
    folder.raises(r"root\\xfc: .*UTF-8")
    with pytest.raises(UserError, match=r"root\\xfc: .*UTF-8"):
        registry.load_dataset("dsb2018", root=str(folder.root))


def test_an_exchanged_background_is_warned_of(folder, capfd):
    folder.pair("a", mask=(IDS > 0).astype(np.uint8))
    for _ in range(2):
        folder.create()
        assert re.findall("^warning: .*", capfd.readouterr().err, re.MULTILINE)[0].startswith(
            "warning: the background (class 0)"
        )
    folder.create(class_names=("cell", "gap"))
    folder.create(mask_values=(1, 0))
    assert "warning" not in capfd.readouterr().err


def test_prepared_anew_only_when_contents_change(folder, monkeypatch):
    prepared = []
    example = from_files.FromFiles.example
    monkeypatch.setattr(from_files.FromFiles, "example", lambda *args: prepared.append(args) or example(*args))
    folder.pair("a"), folder.pair("b")
    first = folder.create()
    # Names do not change what is stored.
    again = folder.create(class_names=("ground", "anode", "cathode"))
    assert len(prepared) == 2
    assert again.class_names[1] == "anode"
    folder.write("masks/b.png", IDS[::-1].copy())
    changed = folder.create()
    assert len(prepared) == 4
    assert changed.fingerprint != first.fingerprint
    np.testing.assert_array_equal(changed.source("train")[1]["mask"], IDS[::-1])
    folder.root = folder.root.rename(folder.root.with_name("moved"))
    assert folder.create().fingerprint == changed.fingerprint
    assert len(prepared) == 4


def test_ids_that_no_mask_holds_are_warned_of(folder, capfd):
    folder.pair("a", mask=(IDS > 0).astype(np.uint8) * 31)
    for options, number in (({}, 1), ({"num_classes": 32}, 0), ({"mask_values": (31, 0)}, 0)):
        folder.create(**options)
        assert (
            len(re.findall(r"warning: .* no mask holds the ids 1, 2, .*mask_values", capfd.readouterr().err)) == number
        )
    folder.pair("a", mask=np.zeros_like(IDS))
    folder.create()
    assert "warning" not in capfd.readouterr().err


def test_copies_in_different_splits_are_warned_of(folder, capfd):
    folder.pair("a"), folder.pair("b"), folder.pair("c", image=GREY[::-1].copy())
    folder.write("index.csv", "id,split\na,train\nb,train\nc,val\n")
    folder.create()
    assert "warning" not in capfd.readouterr().err
    folder.write("index.csv", "id,split\na,train\nc,train\nb,val\n")
    folder.create()
    (line,) = re.findall("^warning: .*", capfd.readouterr().err, re.MULTILINE)
    assert re.search(r"images/b\.png \(val\) and \S*images/a\.png \(train\); 1 such pairs.* same group", line)


@pytest.mark.parametrize(("where", "while_"), [(image_folder, "read_example"), (from_files.FromFiles, "example")])
def test_data_that_change_while_they_are_read_are_not_kept(folder, monkeypatch, where, while_):
    folder.pair("a")
    original = getattr(where, while_)

    def change_after(*args):
        result = original(*args)
        folder.write("masks/a.png", IDS[::-1].copy())
        return result

    with monkeypatch.context() as patch:
        patch.setattr(where, while_, change_after)
        folder.raises(r"masks/a\.png: was changed while the data set was read")
    folder.write("masks/a.png", IDS)
    np.testing.assert_array_equal(folder.create().source("train")[0]["mask"], IDS)


def test_a_changed_reader_checks_and_prepares_anew(folder, monkeypatch, tmp_path):
    checks, survey = [], from_files.survey_rows
    monkeypatch.setattr(from_files, "survey_rows", lambda *args, **kept: checks.append(args) or survey(*args, **kept))
    folder.pair("a")
    first = folder.create()
    folder.create()
    assert len(checks) == 1
    (tmp_path / "reader.py").write_text("# fixed")
    monkeypatch.setattr(image_folder, "READERS", (*image_folder.READERS[1:], str(tmp_path / "reader.py")))
    assert folder.create().fingerprint != first.fingerprint
    assert len(checks) == 2


def test_masks_of_background_and_void_need_mask_values(folder):
    void = np.where(IDS == 2, 255, 0).astype(np.uint8)
    folder.pair("a", mask=void)
    folder.raises(r"a\.png: .*0 and 255; .*mask_values=\(0, 1\) .*void")
    folder.raises(r"a\.png: .*mask_values=\(0, 1, 2\) .*void", num_classes=3)
    # In some masks 255 may be the object that is 1 or 2 in others.
    folder.pair("b")
    folder.pair("c", mask=np.zeros_like(IDS))
    mixed = (
        r"masks/a\.png: holds 0, 255, but .*masks/b\.png holds 0, 1, 2; .*\b1 of 3\b.*mask_values=\(0, 1, 2\) .*void"
    )
    folder.raises(mixed)
    folder.raises(mixed, num_classes=3)
    folder.pair("a", mask=np.full_like(IDS, 255))
    folder.raises(r"masks/a\.png: holds 255, but .*masks/b\.png")
    np.testing.assert_array_equal(folder.examples(mask_values=(0, 1, 2))["a"]["mask"], np.full_like(IDS, 255))
    # A mask of ids and 255 shows that 255 is void.
    folder.pair("a", mask=void)
    folder.pair("b", mask=np.where(IDS == 0, 255, IDS).astype(np.uint8))
    np.testing.assert_array_equal(folder.examples()["a"]["mask"], void)


def test_masks_in_colour_and_in_grey_are_not_mixed(folder):
    square = (IDS > 0).astype(np.uint8)
    folder.pair("a", mask=np.dstack([square * 255] * 3))
    folder.pair("b", mask=square * 255)
    palette = ((0, 0, 0), (255, 255, 255))
    folder.raises(r"masks/b\.png: holds 0, 255, but .*masks/a\.png holds 0, 1; ", palette=palette)
    examples = folder.examples(palette=palette, mask_values=(0, 255))
    assert all((example["mask"] == square).all() for example in examples.values())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"class_names": ("a", "b", "b")}, "^class_names .*'b'"),
        ({"class_names": ("a", "b", "mean")}, "^class_names .*'mean'"),
        ({"class_names": ("a", 1, "b")}, r"^class_names .*\b1\b"),
        ({"mask_values": (0, 255, 0)}, r"^mask_values .*\b0\b"),
        ({"mask_values": (0, "255")}, "^mask_values .*'255'"),
        ({"mask_values": 255}, "^mask_values=255: "),
        ({"palette": ((0, 0, 0), (1, 1, 1), (0, 0, 0))}, r"^palette .*\(0, 0, 0\)"),
        ({"palette": (0, 0, 0)}, r"^palette .*\b0\b"),
        ({"palette": ((0, 0, 0), (0, 0, 256))}, r"^palette .*\(0, 0, 256\)"),
        ({"num_classes": -3}, "^num_classes=-3: "),
        ({"num_classes": "3"}, "^num_classes='3': "),
        ({"split_fractions": (0.5, "a", 0)}, r"^split_fractions=\(0\.5, 'a', 0\): .*train, val, test"),
    ],
)
def test_wrong_settings_are_named(folder, options, match):
    folder.pair("a")
    folder.raises(match, **options)


def test_files_that_may_not_be_read_are_named(folder, monkeypatch):
    def denied(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    folder.pair("a")
    with monkeypatch.context() as patch:
        patch.setattr(cache.os, "stat", denied)
        with pytest.raises(UserError, match=r"x\.png: .*Permission denied"):
            cache.file_digests([folder.root / "x.png"], folder.cache)
    monkeypatch.setattr(listing.os, "scandir", denied)
    folder.raises(r"images: .*Permission denied")


def test_the_root_may_lie_in_the_home_folder(folder, monkeypatch):
    folder.pair("a")
    folder.write("index.csv", "id,split\na,val\n")
    folder.write("instances/a.png", IDS)
    monkeypatch.setenv("HOME", str(folder.root.parent))
    source = load_image_folder("~/root", cache_dir=folder.cache).source("val")
    np.testing.assert_array_equal(source[0]["instances"], IDS)


def test_an_empty_split_names_its_remedy(folder):
    folder.pair("a")
    with pytest.raises(UserError, match=r"'val'.*data\.split_fractions.*index\.csv"):
        folder.create().source("val")
