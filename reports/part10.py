"""DICOM files (PS3.10) of results: the same data set always gives the same bytes."""

import struct

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_node.domain.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from reports.encoding import encoded

PIXELS = frozenset({"FloatPixelData", "PixelData"})
"""Hundreds of megabytes, of an even number of bytes: handed on as they are, never copied."""
PREAMBLE = b"\0" * 128 + b"DICM"

Part = bytes | memoryview


def file_parts(dataset: Dataset) -> list[Part]:
    """What a DICOM file in Explicit VR Little Endian is made of, with our own file meta group."""
    dataset.file_meta = _file_meta(dataset)
    meta = DicomBytesIO()
    write_file_meta_info(meta, dataset.file_meta)
    last = dataset[max(dataset.keys())]
    if last.keyword not in PIXELS:
        return [PREAMBLE, meta.getvalue(), encoded(dataset)]
    header = Dataset({tag: element for tag, element in dataset.items() if tag != last.tag})
    return [PREAMBLE, meta.getvalue(), encoded(header), _start(last), last.value]


def dataset_bytes(dataset: Dataset) -> bytes:
    """The file in one piece, for who does not write it."""
    return b"".join(file_parts(dataset))


def _start(pixels: DataElement) -> bytes:
    """Tag, VR and length (PS3.5 section 7.1.2)."""
    tag, length = pixels.tag, len(pixels.value)
    return struct.pack("<HH2sHL", tag.group, tag.element, pixels.VR.encode(), 0, length)


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(dataset.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta
