"""Decodes DICOM, with pydicom (extra `medical`).

- MONOCHROME1, in which the largest value is black, is turned round: a pixel becomes the smallest plus the largest value that can be
  stored, minus its value.
- Rescale slope and intercept are applied where they change something; the values are float32 then.
- YBR becomes RGB, and the indices of a palette its colours; in a mask they stay indices.
- Frames with a position are ordered along the normal of their plane.
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


def open_image(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the frames, `[H, W, 1 or 3]` each.

    Raises:
      UserError: the file holds no pixels, a decoder is missing, or pydicom is not installed.
      Exception: the file is damaged.
    """
    del reading
    dataset = _opened(path, data)
    frames, order = _frames(path, dataset)
    interpretation = dataset.PhotometricInterpretation
    if interpretation == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        colours = [apply_color_lut(frame[..., 0], dataset) for frame in frames]
        return _pictures([to_image_type(frame) for frame in colours], order)
    rescaled = [_rescaled(dataset, number, frame) for number, frame in enumerate(frames)]
    if interpretation == "MONOCHROME1":
        ends = [_rescaled(dataset, number, _ends(dataset)) for number in range(len(frames))]
        rescaled = [_turned(frame, end) for frame, end in zip(rescaled, ends, strict=True)]
    return _pictures([to_image_type(frame) for frame in rescaled], order)


def open_labels(path: str | Path, data: bytes, reading: Reading) -> Pictures:
    """Returns the values of the frames as stored; of a segmentation 0 and 1.

    Raises:
      UserError: as `open_image`; the compression is lossy, or a segmentation has several segments or is fractional.
      Exception: the file is damaged.
    """
    del reading
    dataset = _opened(path, data)
    if dataset.get("LossyImageCompression", "00") == "01":
        raise UserError(f"{path}: has lossy compression, which changes ids; export the mask again as PNG")
    if dataset.get("SOPClassUID") == SEGMENTATION:
        segments = len(dataset.get("SegmentSequence", ()))
        if segments != 1 or dataset.get("SegmentationType", "BINARY") != "BINARY":
            raise UserError(
                f"{path}: is a segmentation of {segments} segments, type {dataset.get('SegmentationType', '?')}; save each segment as a "
                "binary mask"
            )
    return _pictures(*_frames(path, dataset))


def _pictures(frames: list[np.ndarray], order: list[int]) -> Pictures:
    return Pictures(len(frames), lambda page: frames[order[page]])


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
    return dataset


def _frames(path, dataset: Any) -> tuple[list[np.ndarray], list[int]]:
    """Returns the frames as they are stored, `[H, W, C]`, and the order in which they lie in space."""
    from pydicom.pixels import pixel_array

    try:
        pixels = pixel_array(dataset)
    except (RuntimeError, NotImplementedError) as error:
        syntax = dataset.file_meta.TransferSyntaxUID.name
        raise UserError(
            f"{path}: its pixels ({syntax}) cannot be decoded ({first_line(error)}); install the decoder that pydicom names, or save it "
            "without compression"
        ) from error
    samples, count = int(dataset.SamplesPerPixel), int(dataset.get("NumberOfFrames", 1) or 1)
    frames = list(pixels.reshape(count, int(dataset.Rows), int(dataset.Columns), samples))
    return frames, _order(dataset, count)


def _order(dataset: Any, count: int) -> list[int]:
    """Returns the numbers of the frames along the normal of their plane; as stored where positions are missing."""
    try:
        shared = dataset.SharedFunctionalGroupsSequence[0]
        turned = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
        normal = np.cross(turned[:3], turned[3:])
        groups = dataset.PerFrameFunctionalGroupsSequence
        places = [
            float(normal @ np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)) for group in groups
        ]
    except (AttributeError, IndexError):
        return list(range(count))
    return [int(number) for number in np.argsort(places, kind="stable")] if len(places) == count else list(range(count))


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
