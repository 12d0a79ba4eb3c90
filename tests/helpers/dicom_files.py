"""Writes DICOM files with pydicom."""

import io

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage, generate_uid


def saved(pixels, bits=12, photometric="MONOCHROME2", compress=False, **more):
    """Returns the bytes of a file of one or several frames; `more` are further elements by their keywords."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = more.get("SOPClassUID", SecondaryCaptureImageStorage)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    is_rgb = pixels.shape[-1] == 3
    data.Rows, data.Columns = pixels.shape[-3:-1] if is_rgb else pixels.shape[-2:]
    data.SamplesPerPixel = 3 if is_rgb else 1
    if is_rgb:
        data.PlanarConfiguration = 0
    if pixels.ndim == (4 if is_rgb else 3):
        data.NumberOfFrames = len(pixels)
    data.PhotometricInterpretation = photometric
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 * pixels.dtype.itemsize, bits, bits - 1
    data.PixelData = pixels.tobytes()
    for name, value in more.items():
        setattr(data, name, value)
    if compress:
        data.compress(RLELossless)
    file = io.BytesIO()
    pydicom.dcmwrite(file, data, enforce_file_format=True)
    return file.getvalue()
