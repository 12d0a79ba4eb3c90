"""Stacks and channels of TIFF: what tifffile, ImageJ and OME write comes back as pictures."""

import io

import numpy as np
import pytest
import tifffile

from unet_jax.data.datasets.formats import tiff
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError

SIZE = (9, 20)
RNG = np.random.default_rng(3)


def values(*front, dtype=np.uint16):
    return RNG.integers(0, 200, (*front, *SIZE)).astype(dtype)


def written(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def pictures(data, axes="", opened=tiff.open_image):
    found = opened("a.tif", data, Reading(axes))
    # In another order than they are stored.
    read = [found.read(page) for page in range(found.count)[::-1]][::-1]
    return np.stack(read)


MINISBLACK = {"photometric": "minisblack"}


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}, {"bigtiff": True}], ids=str)
@pytest.mark.parametrize("kind", ["ome", "shaped", "imagej"])
def test_a_stack_of_channels_is_pictures_of_channels(kind, options):
    array = values(4, 3)
    if kind == "imagej":
        if options.get("bigtiff"):
            pytest.skip("ImageJ writes no BigTIFF")
        options = {"imagej": True} | options
    else:
        options = MINISBLACK | {"ome": kind == "ome"} | options
    data = written(array, metadata={"axes": "ZCYX"}, **options)
    got = pictures(data)
    assert got.dtype == np.uint16
    np.testing.assert_array_equal(got, array.transpose(0, 2, 3, 1))
    # C outermost.
    if kind != "imagej":
        data = written(array, metadata={"axes": "CTYX"}, **options)
        np.testing.assert_array_equal(pictures(data), array.transpose(1, 2, 3, 0))


def test_the_axes_of_the_config_override_those_of_the_file():
    array = values(4)
    data = written(array, **MINISBLACK)
    np.testing.assert_array_equal(pictures(data)[..., 0], array)
    np.testing.assert_array_equal(pictures(data, "CYX")[0], array.transpose(1, 2, 0))
    # Three slices are written as red, green and blue; nothing tells them from colours.
    for count in (4, 3):
        planes = written(values(count, dtype=np.float32), photometric="rgb", planarconfig="separate")
        with pytest.raises(UserError, match=r"a\.tif: .*stack.*data\.axes='ZYX'"):
            pictures(planes)
    # Of four slices of 8 bits the last would be dropped as alpha.
    four = values(4, dtype=np.uint8)
    with pytest.raises(UserError, match=r"holds 4 planes of uint8.*data\.axes='ZYX'"):
        pictures(written(four, photometric="rgb", planarconfig="separate"))
    with pytest.raises(UserError, match=r"holds 4 planes of uint8.*data\.axes='QZYX'"):
        pictures(written(values(2, 4, dtype=np.uint8), photometric="rgb", planarconfig="separate"))
    data = written(four, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(pictures(data, "ZYX")[..., 0], four)
    np.testing.assert_array_equal(pictures(data, "CYX")[0], four.transpose(1, 2, 0))
    data = written(four, photometric="rgb", planarconfig="separate", metadata={"axes": "CYX"})
    np.testing.assert_array_equal(pictures(data)[0], four.transpose(1, 2, 0))
    assert pictures(planes, "ZYX").shape == (3, *SIZE, 1)
    assert pictures(planes, "CYX").shape == (1, *SIZE, 3)
    for axes, words in (("YX", "3 dimensions"), ("ZZX", "must hold Y and X"), ("YXC", "rows and columns")):
        with pytest.raises(UserError, match=rf"a\.tif: .*{words}"):
            pictures(data, axes)


def test_what_is_stored_as_narrow_pages_is_asked_for():
    # tifffile writes [H, W, 5] as H pages of W rows and 5 columns.
    with pytest.raises(UserError, match=r"\(9, 20, 5\).*not clear.*planarconfig='contig'"):
        pictures(written(np.zeros((*SIZE, 5), np.uint16)))


def test_a_stack_behind_one_page():
    array = values(5, dtype=np.float32)
    for options in (
        {"imagej": True},
        {"truncate": True, **MINISBLACK},
        {"truncate": True, "byteorder": ">", **MINISBLACK},
    ):
        data = written(array, metadata={"axes": "ZYX"}, **options)
        np.testing.assert_array_equal(pictures(data)[..., 0], array)
    volume = written(array, volumetric=True, metadata={"axes": "ZYX"}, **MINISBLACK)
    np.testing.assert_array_equal(pictures(volume)[..., 0], array)


def test_colours_in_a_stack_and_alpha_in_planes():
    array = values(2, dtype=np.uint8)[..., None] + np.arange(3, dtype=np.uint8)
    np.testing.assert_array_equal(pictures(written(array, photometric="rgb")), array)
    planes = np.concatenate([array[0], np.full((*SIZE, 1), 255, np.uint8)], -1).transpose(2, 0, 1)
    options = {"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unassalpha"]}
    data = written(planes, metadata=None, **options)
    np.testing.assert_array_equal(pictures(data)[0], array[0])


def test_series_of_equal_pages_are_one_stack_and_others_are_refused():
    array = values(3, dtype=np.uint8)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in array:
            writer.write(page)
    assert len(tifffile.TiffFile(io.BytesIO(file.getvalue())).series) == 3
    np.testing.assert_array_equal(pictures(file.getvalue())[..., 0], array)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(array[0])
        writer.write(array[0, :5])
    with pytest.raises(UserError, match=r"2 series of pages that differ.*separate file"):
        pictures(file.getvalue())


def test_the_first_level_of_a_pyramid_is_read():
    array = np.zeros((2, 64, 64), np.uint16)
    array[:, ::2] = 9
    file = io.BytesIO()
    with tifffile.TiffWriter(file, ome=True) as writer:
        writer.write(array, subifds=1, metadata={"axes": "CYX"}, tile=(32, 32), **MINISBLACK)
        writer.write(array[:, ::2, ::2], subfiletype=1, tile=(32, 32), **MINISBLACK)
    np.testing.assert_array_equal(pictures(file.getvalue())[0], array.transpose(1, 2, 0))


def ome_set(tmp_path, axes, size_c, size_z):
    """Writes two files of an OME set, with one plane each."""
    planes = values(2)
    names = ["a.ome.tif", "b.ome.tif"]
    data = "".join(
        f'<TiffData First{axes[0]}="{number}" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{number}</UUID></TiffData>'
        for number, name in enumerate(names)
    )
    pixels = f'DimensionOrder="XYCZT" Type="uint16" SizeX="20" SizeY="9" SizeC="{size_c}" SizeZ="{size_z}" SizeT="1"'
    for number, (name, plane) in enumerate(zip(names, planes, strict=True)):
        about = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{number}"><Image ID="Image:0">'
            f'<Pixels ID="Pixels:0" {pixels}>{data}</Pixels></Image></OME>'
        )
        tifffile.imwrite(tmp_path / name, plane, description=about, metadata=None)
    return [tmp_path / name for name in names], planes


def test_each_file_of_an_ome_set_is_its_own_page(tmp_path):
    files, planes = ome_set(tmp_path, "Z", 1, 2)
    # tifffile itself reads all of the set from each.
    assert tifffile.imread(files[0]).shape == (2, *SIZE)
    found = [tiff.open_image(file, file.read_bytes(), Reading()) for file in files]
    assert [each.count for each in found] == [1, 1]
    np.testing.assert_array_equal([each.read(0)[..., 0] for each in found], planes)
    assert found[0].set_id == found[1].set_id != ""
    (tmp_path / "other").mkdir()
    alone = written(planes[0], ome=True)
    assert tiff.open_image("c.ome.tif", alone, Reading()).set_id == ""


def test_channels_in_different_files_of_an_ome_set_are_refused(tmp_path):
    files, _ = ome_set(tmp_path, "C", 2, 1)
    with pytest.raises(UserError, match=r"a\.ome\.tif: .*2 channels.*different files.*one file"):
        tiff.open_image(files[0], files[0].read_bytes(), Reading())


def test_masks_of_a_stack_keep_their_type():
    for dtype in (np.uint8, np.uint16, np.int32, np.uint32, bool):
        array = values(4, dtype=dtype)
        got = pictures(written(array, metadata={"axes": "ZYX"}, **MINISBLACK), opened=tiff.open_labels)
        assert got.dtype == (np.uint8 if dtype is bool else dtype)
        np.testing.assert_array_equal(got[..., 0], array)
