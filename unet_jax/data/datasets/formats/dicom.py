"""Decodes DICOM, with pydicom (extra `medical`), frame by frame.

- Rescale slope and intercept are applied where they change something; the values are float32 then.
- MONOCHROME1, in which the largest value is black, is turned round: a value becomes the sum of the smallest and the largest value that
  can be stored, both rescaled, minus itself. With 12 bits and no rescaling 0 becomes 4095, and 4095 becomes 0.
- YBR becomes RGB, and the indices of a palette its colours.
- Frames with a position are ordered along the normal of their plane.
- In a mask the values are those that are stored.
"""

import io
from typing import Any

import numpy as np
from etils.epath import Path

from unet_jax.data.datasets.formats import declared
from unet_jax.data.datasets.formats.pictures import Pictures, to_image_type
from unet_jax.data.datasets.reading import Reading
from unet_jax.errors import UserError
from unet_jax.storage.write_errors import first_line

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
PALETTE, MONOCHROME1 = "PALETTE COLOR", "MONOCHROME1"
# Transfer syntaxes that never change a value: none, deflated, RLE, and the lossless ones of JPEG, JPEG-LS, JPEG 2000 and HTJ2K.
LOSSLESS = (
    *("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"),
    *("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80"),
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202"),
)
# Tables that give values another meaning, and are not applied.
TABLES = ("ModalityLUTSequence", "DoseGridScaling")


def open_image(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the frames, `[H, W, 1 or 3]` each.

    Raises:
      UserError: the file holds no pixels, the tiles of a slide, or values that a table gives their meaning; a decoder is missing,
        or pydicom is not installed.
      Exception: the file is damaged.
    """
    del reading
    dataset = _opened(path, data)
    for table in TABLES:
        if table in dataset:
            raise UserError(f"{path}: has the table {table}, which is not applied; save the values that it gives")
    order = _order(dataset)

    def read(page: int) -> np.ndarray:
        frame = order[page]
        pixels = _decoded(path, dataset, frame)
        if dataset.PhotometricInterpretation == PALETTE:
            from pydicom.pixels import apply_color_lut

            return to_image_type(apply_color_lut(pixels[..., 0], dataset))
        rescaled = _rescaled(dataset, frame, pixels)
        if dataset.PhotometricInterpretation == MONOCHROME1:
            rescaled = _turned(rescaled, _rescaled(dataset, frame, _ends(dataset)))
        return to_image_type(rescaled)

    return Pictures(len(order), read)


def open_labels(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the values of the frames as stored; of a segmentation 0 and 1; of a palette the indices.

    Raises:
      UserError: as `open_image`; the compression is lossy, the colours are not RGB, or a segmentation has several segments or is
        fractional.
      Exception: the file is damaged.
    """
    del reading
    dataset = _opened(path, data)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in LOSSLESS or dataset.get("LossyImageCompression", "00") == "01":
        raise UserError(
            f"{path}: has lossy compression ({syntax.name}), or had it once, which changes ids; export the mask again as PNG"
        )
    if dataset.PhotometricInterpretation.startswith("YBR"):
        raise UserError(f"{path}: has colours of kind {dataset.PhotometricInterpretation}; save the mask as class ids")
    if dataset.get("SOPClassUID") == SEGMENTATION:
        segments = len(dataset.get("SegmentSequence", ()))
        if segments != 1 or dataset.get("SegmentationType", "BINARY") != "BINARY":
            raise UserError(
                f"{path}: is a segmentation of {segments} segments, type {dataset.get('SegmentationType', '?')}; save each segment as a "
                "binary mask"
            )
    order = _order(dataset)
    colours = _colours(path, dataset) if dataset.PhotometricInterpretation == PALETTE else None
    return Pictures(len(order), lambda page: _decoded(path, dataset, order[page]), colours)


def _opened(path, data: bytes) -> Any:
    try:
        import pydicom
    except ImportError as error:
        raise UserError(f"{path}: DICOM is read with pydicom; pip install 'unet-jax[medical]'") from error
    dataset = pydicom.dcmread(io.BytesIO(data))
    if "PixelData" not in dataset:
        raise UserError(f"{path}: holds no pixels that are whole numbers (PixelData); export it as an image")
    size = dataset.Columns, dataset.Rows
    declared.check_size(path, *size, dataset.SamplesPerPixel * dataset.BitsAllocated // 8)
    whole = dataset.get("TotalPixelMatrixColumns"), dataset.get("TotalPixelMatrixRows")
    if all(whole) and whole != size:
        raise UserError(
            f"{path}: holds the tiles of a slide of {whole[0]} x {whole[1]} pixels; save the slide, or parts of it, as TIFF"
        )
    return dataset


def _decoded(path, dataset: Any, frame: int) -> np.ndarray:
    """Returns a frame as it is stored, `[H, W, C]`; YBR as RGB."""
    from pydicom.pixels import pixel_array

    try:
        pixels = pixel_array(dataset, index=frame)
    except (RuntimeError, NotImplementedError) as error:
        syntax = dataset.file_meta.TransferSyntaxUID.name
        raise UserError(
            f"{path}: its pixels ({syntax}) cannot be decoded ({first_line(error)}); install the decoder that pydicom names, or save it "
            "without compression"
        ) from error
    return pixels.reshape(int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel))


def _order(dataset: Any) -> list[int]:
    """Returns the numbers of the frames along the normal of their plane; as stored where they do not say where they lie."""
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    try:
        groups = list(dataset.PerFrameFunctionalGroupsSequence)
        shared = dataset.get("SharedFunctionalGroupsSequence") or groups
        sides = [
            np.array(group.PlaneOrientationSequence[0].ImageOrientationPatient, float)
            for group in (shared if "PlaneOrientationSequence" in shared[0] else groups)
        ]
        places = [np.array(group.PlanePositionSequence[0].ImagePositionPatient, float) for group in groups]
    except (AttributeError, IndexError):
        return list(range(count))
    if len(places) != count or not np.allclose(sides, sides[0], atol=1e-3):
        return list(range(count))
    along = np.array(places) @ np.cross(sides[0][:3], sides[0][3:])
    return [int(number) for number in np.argsort(along, kind="stable")]


def _rescaled(dataset: Any, frame: int, values: np.ndarray) -> np.ndarray:
    """Returns values after rescale slope and intercept, which may be those of the frame."""
    holder = dataset
    if "RescaleSlope" not in dataset:
        for name, number in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
            groups = dataset.get(name) or ()
            if number < len(groups) and "PixelValueTransformationSequence" in groups[number]:
                holder = groups[number].PixelValueTransformationSequence[0]
                break
    slope, intercept = float(holder.get("RescaleSlope", 1)), float(holder.get("RescaleIntercept", 0))
    return values if (slope, intercept) == (1, 0) else values.astype(np.float64) * slope + intercept


def _ends(dataset: Any) -> np.ndarray:
    """Returns the smallest and the largest value that can be stored."""
    bits = int(dataset.BitsStored)
    low = -(2 ** (bits - 1)) if dataset.PixelRepresentation else 0
    return np.array([low, low + 2**bits - 1], np.int64)


def _turned(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    turned = ends.sum() - values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    return turned if values.dtype.kind == "f" else turned.astype(values.dtype)


def _colours(path, dataset: Any) -> np.ndarray:
    """Returns the palette, uint8 `[N, 3]`."""
    from pydicom.pixels import apply_color_lut

    number, first, bits = (int(value) for value in dataset.RedPaletteColorLookupTableDescriptor)
    if first or not 1 <= number <= 256:
        raise UserError(
            f"{path}: has a palette of {number or 65536} colours, the first for the value {first}; save the mask as class ids"
        )
    colours = apply_color_lut(np.arange(number, dtype=np.uint8)[None], dataset)[0]
    return (colours >> 8 if bits > 8 else colours).astype(np.uint8)
