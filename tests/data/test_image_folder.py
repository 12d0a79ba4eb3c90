"""What a folder may hold comes back exactly; what it may not is refused in one line with file, value and remedy."""

import cv2
import numpy as np
import pytest
from PIL import Image

from unet_jax.data import image_folder, splits
from unet_jax.errors import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 10)).astype(np.uint8)
IDS = RNG.integers(0, 3, (12, 10)).astype(np.uint8)
TRAIN = {"split_fractions": (1, 0, 0)}


class Folder:
    """Writes files below `root` and makes the data set of them; RGB arrays are in RGB order."""

    def __init__(self, tmp_path):
        self.root, self.cache = tmp_path / "root", str(tmp_path / "cache")

    def write(self, name, content):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str | bytes):
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        elif isinstance(content, Image.Image):
            content.save(path)
        else:
            order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(content.shape[-1] if content.ndim == 3 else 0)
            assert cv2.imwrite(str(path), content[..., order] if order else content)

    def pair(self, id_, image=GREY, mask=IDS, image_suffix=".png", mask_suffix=".png"):
        self.write(f"images/{id_}{image_suffix}", image)
        self.write(f"masks/{id_}{mask_suffix}", mask)

    def create(self, **knobs):
        return image_folder.create(str(self.root), cache_dir=self.cache, **(TRAIN | knobs))

    def examples(self, **knobs):
        source = self.create(**knobs).source("train")
        return {example["id"]: example for example in (source[i] for i in range(len(source)))}

    def refused(self, match, **knobs):
        with pytest.raises(UserError, match=match) as error:
            self.create(**knobs)
        assert "\n" not in str(error.value)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_every_image_format_comes_back_exactly(folder):
    rgb = RNG.integers(0, 256, (12, 10, 3)).astype(np.uint8)
    alpha = np.dstack([rgb, GREY])
    repeated = np.repeat(GREY[..., None], 3, -1)
    palette = Image.fromarray(GREY).convert("P")
    palette.putpalette(list(RNG.permutation(256)) * 3)
    cases = {
        "grey": (GREY, ".png", repeated),
        "bmp": (GREY, ".bmp", repeated),
        "tiff": (rgb, ".TIFF", rgb),
        "rgb": (rgb, ".png", rgb),
        "rgba": (alpha, ".png", rgb),
        "grey_alpha": (Image.fromarray(np.dstack([GREY, GREY[::-1]])), ".png", repeated),
        "palette": (palette, ".png", np.asarray(palette.convert("RGB"))),
    }
    for name, (image, suffix, _) in cases.items():
        folder.pair(name, image, image_suffix=suffix)
    folder.write("images/Thumbs.db", "not an image")
    folder.write("images/.hidden.png", "")
    examples = folder.examples()
    assert folder.create().channels == 3
    assert examples.keys() == cases.keys()
    for name, (_, _, want) in cases.items():
        np.testing.assert_array_equal(examples[name]["image"], want, err_msg=name)
        np.testing.assert_array_equal(examples[name]["mask"], IDS)


def test_sixteen_bits_and_sizes_of_their_own(folder):
    rgb16 = RNG.integers(0, 65536, (7, 9, 3)).astype(np.uint16)
    grey16 = RNG.integers(0, 65536, (5, 3)).astype(np.uint16)
    folder.pair("a", rgb16, IDS[:7, :9], ".tif")
    folder.pair("b", grey16, IDS[:5, :3], mask_suffix=".bmp")
    examples = folder.examples()
    assert folder.create().dtype == "uint16"
    np.testing.assert_array_equal(examples["a"]["image"], rgb16)
    np.testing.assert_array_equal(examples["b"]["image"], np.repeat(grey16[..., None], 3, -1))
    np.testing.assert_array_equal(examples["b"]["mask"], IDS[:5, :3])


def test_jpeg_images_are_read(folder):
    folder.pair("a", np.full_like(GREY, 100), image_suffix=".JPG")
    example = folder.examples()["a"]
    assert example["image"].shape == (12, 10, 1)
    assert abs(example["image"].astype(int) - 100).max() <= 1


def test_masks_keep_ids_of_every_kind(folder):
    palette = Image.fromarray(IDS)
    palette.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0] + [0] * 759)
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 254]], np.uint8)
    void = np.where(IDS == 2, 255, IDS).astype(np.uint8)
    folder.pair("palette", mask=palette)
    folder.pair("wide", mask=IDS.astype(np.uint16), mask_suffix=".tif")
    folder.pair("void", mask=void)
    folder.pair("binary", mask=Image.fromarray(IDS == 1))
    folder.pair("rgb", mask=colours[IDS])
    examples = folder.examples(palette=colours.tolist())
    for name, want in {"palette": IDS, "wide": IDS, "void": void, "binary": IDS == 1, "rgb": IDS}.items():
        assert examples[name]["mask"].dtype == np.uint8
        np.testing.assert_array_equal(examples[name]["mask"], want, err_msg=name)


def test_mask_values_are_mapped_only_when_given(folder):
    folder.pair("a", mask=(IDS % 2 * 255).astype(np.uint8))
    folder.refused(r"a\.png: holds only the values 0, 255; set mask_values=\(0, 255\)")
    np.testing.assert_array_equal(folder.examples(mask_values=(0, 255))["a"]["mask"], IDS % 2)
    np.testing.assert_array_equal(folder.examples(mask_values=(0, 1))["a"]["mask"], IDS % 2 * 255)  # void
    folder.refused(r"a\.png: holds values 0 that are not in mask_values=\(7, 255\)", mask_values=(7, 255))


def test_another_folder_of_masks_and_instances(folder):
    instances = RNG.integers(0, 65536, IDS.shape).astype(np.uint16)
    folder.pair("a")
    folder.write("masks3/a.png", IDS[::-1])
    folder.write("instances/a.png", instances)
    example = folder.examples(masks_dir="masks3")["a"]
    np.testing.assert_array_equal(example["mask"], IDS[::-1])
    np.testing.assert_array_equal(example["instances"], instances)
    folder.refused("masks4: is not a folder", masks_dir="masks4")


def test_class_names_given_or_derived(folder):
    folder.pair("a")
    assert folder.create().class_names == ("background", "class_1", "class_2")
    assert folder.create(num_classes=4).class_names == ("background", "class_1", "class_2", "class_3")
    assert folder.create(class_names=["ground", "anode", "cathode"]).class_names == ("ground", "anode", "cathode")
    folder.refused("num_classes has 2, class_names has 3", class_names="abc", num_classes=2)
    folder.refused(r"a\.png: holds the ids 0, 1, 2, but there are 2 classes \(ids 0\.\.1", class_names="ab")
    folder.pair("b", mask=GREY)
    folder.refused(rf"b\.png: holds the value {np.unique(GREY[GREY < 255])[-1]}; .*mask_values")


def test_index_gives_splits_and_groups(folder):
    for id_ in "abc":
        folder.pair(id_)
    folder.write("index.csv", "\ufeffid,split,note,group\na,train,x,1\nb, val,,2\nc,train,,\n")
    dataset = folder.create()
    assert dataset.splits == {"train": 2, "val": 1}
    assert [(e["id"], e["group"]) for e in map(dataset.source("train").__getitem__, range(2))] == [
        ("a", "1"),
        ("c", "c"),
    ]


@pytest.mark.parametrize(
    ("index", "match"),
    [
        ("id,split\na,train\n", "index.csv: id 'b' is an image without a row"),
        ("id,split\na,train\nb,val\nz,val\n", "index.csv: id 'z' has no image"),
        ("id,split\na,train\nb,dev\n", "id 'b' has split 'dev'; use one of train, val, test"),
        ("id,split\na,train\nb,val\na,val\n", "id 'a' has two rows"),
        ("id,split,group\na,train,g\nb,val,g\n", "group 'g' is in train and, with id 'b', in val"),
        ("id;split\na;train\n", "has no column 'id' \\(columns: id;split\\)"),
        ("", "has no column 'id'"),
    ],
)
def test_a_wrong_index_is_refused(folder, index, match):
    folder.pair("a"), folder.pair("b")
    folder.write("index.csv", index)
    folder.refused(match)


def test_hashed_splits_are_stable_and_keep_groups_together(tmp_path):
    ids = [f"image{i}" for i in range(3000)]
    fractions = (0.7, 0.2, 0.1)
    some = splits.assign(ids[:50], tmp_path / "index.csv", fractions)
    every = splits.assign(ids, tmp_path / "index.csv", fractions)
    assert {id_: every[id_] for id_ in some} == some
    shares = [sum(split == name for split, _ in every.values()) / 3000 for name in ("train", "val", "test")]
    np.testing.assert_allclose(shares, fractions, atol=0.03)
    # Another hash would move users' images across their splits: these must never change.
    assert [i for i in range(12) if every[f"image{i}"][0] != "train"] == [1, 7]
    index = tmp_path / "index.csv"
    index.write_text("id,group\n" + "".join(f"{id_},{i // 4}\n" for i, id_ in enumerate(ids)))
    grouped = splits.assign(ids, index, fractions)
    assert len(set(grouped.values())) == 750
    with pytest.raises(UserError, match="add up to 1"):
        splits.check_fractions((0.5, 0.2, 0.2))


def test_bad_pairs_and_files_are_refused(folder):
    folder.write("masks/x.png", IDS)
    folder.refused("images: is not a folder")
    folder.write("images/readme.txt", "none yet")
    folder.refused("images: holds no images")
    folder.pair("a")
    folder.refused(r"x\.png: has no file x\.\* in .*images")
    folder.write("images/x.png", GREY)
    folder.write("images/y.png", GREY)
    folder.refused(r"y\.png: has no file y\.\* in .*masks \(1 such\)")
    folder.write("masks/y.jpg", IDS)
    folder.refused(r"y\.jpg: is a JPEG, which changes ids; export")
    (folder.root / "masks/y.jpg").unlink()
    folder.write("masks/y.png", IDS[:, :9])
    folder.refused(r"y\.png: is 9 x 12 pixels, its image 10 x 12")
    folder.write("masks/y.png", np.dstack([IDS] * 3))
    folder.refused(r"y\.png: is an RGB mask \(colours \(0, 0, 0\).*no palette is given")
    folder.refused(r"y\.png: holds colours \(2, 2, 2\) that", palette=((0, 0, 0), (1, 1, 1), (9, 9, 9)))
    folder.write("masks/y.png", "")
    folder.refused(r"masks/y\.png: is empty \(0 bytes\)")
    folder.write("masks/y.png", IDS)
    folder.write("images/y.tif", GREY)
    folder.refused(r"images/y\.tif: id 'y' is taken by y\.png")
    (folder.root / "images/y.tif").unlink()
    folder.write("instances/a.png", IDS)
    folder.refused(r"x\.png: has no file x\.\* in .*instances \(2 such\)")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg"])
def test_unreadable_files_are_refused(folder, suffix, capfd):
    large = RNG.integers(0, 256, (64, 64)).astype(np.uint8)
    folder.pair("a", large, large % 2, image_suffix=suffix)
    folder.create()
    whole = (folder.root / f"images/a{suffix}").read_bytes()
    for broken in (whole[: len(whole) * 9 // 10], whole[:40], b"text"):
        folder.write(f"images/a{suffix}", broken)
        folder.refused(rf"images/a\{suffix}: (cannot be read as an image|is empty)")
    if suffix != ".jpg":
        folder.write(f"images/a{suffix}", whole)
        folder.write("masks/a.png", whole[:40])
        folder.refused(r"masks/a\.png: cannot be read as a mask")
    assert capfd.readouterr().out == ""


def test_other_pixels_are_refused(folder):
    folder.pair("a", GREY.astype(np.float32), image_suffix=".tif")
    folder.refused(r"a\.tif: pixels are float32; save it as 8- or 16-bit unsigned")
    pages = [Image.fromarray(GREY), Image.fromarray(GREY)]
    pages[0].save(folder.root / "images/a.tif", save_all=True, append_images=pages[1:])
    folder.refused(r"a\.tif: holds 2 pages")
    folder.write("images/a.tif", GREY)
    folder.pair("b", GREY.astype(np.uint16))
    folder.refused(r"b\.png: is 16-bit and .*a\.tif is 8-bit")


def test_prepared_anew_only_when_contents_change(folder, monkeypatch):
    prepared = []
    example = image_folder.ImageFolder.example
    monkeypatch.setattr(image_folder.ImageFolder, "example", lambda *args: prepared.append(args) or example(*args))
    folder.pair("a"), folder.pair("b")
    first = folder.create()
    again = folder.create(class_names=("ground", "anode", "cathode"))  # names do not touch what is stored
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
