"""What stands in for a model in the campaign: three objects made of the hashes of the input.

Everything around it is the product's: Celery, claims, heartbeat, store, ledger, shipping. A wrong
or a mixed input shows in the objects. Patients called POISON crash their worker, those called SLOW
take its time, and those called STUCK hang it once, outside of Python.
"""

import ctypes
import hashlib
import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from canary import marked
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicom_node import faults
from dicom_node.domain.delivery import ResultKind, StoredResult
from dicom_node.domain.uid import uuid_uid
from dicom_node.testing.study import file_bytes

KINDS = (ResultKind.SEGMENTATION, ResultKind.SECONDARY_CAPTURE, ResultKind.STRUCTURED_REPORT)
POISON, SLOW, STUCK = "POISON", "SLOW", "STUCK"
SLOW_S = 6.0


def analyse(worker: Any, claim: Any) -> None:
    """In place of ``Worker.run``."""
    job = worker.ledger.jobs.get(claim.id)
    images = [pair for series in job.inputs for pair in series.instances]
    files = worker.files(job)
    assert all(file.expected and file.is_as_expected for file in files)
    with files[0].open() as content:
        patient = dcmread(content).PatientID
    if patient == POISON:
        os.kill(os.getpid(), signal.SIGSEGV)
    if patient == SLOW:
        time.sleep(SLOW_S)
    if patient == STUCK and claim.attempt == 1:
        deadlock()
    faults.point("worker.analysed")
    results = [
        _keep(worker, made, kind, place)
        for place, (kind, made) in enumerate(objects(job.study_instance_uid, images))
    ]
    report = worker.store.keep([f"<p>{job.study_instance_uid}".encode()])
    worker.ledger.jobs.complete(
        claim, results, worker.settings.wanted, summary={}, report_sha256=report.sha256
    )


def deadlock() -> None:
    """No signal ends this wait: no handler of Python's runs any more in this thread."""
    mutex = ctypes.create_string_buffer(128)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)


def objects(study: str, images: Sequence[tuple[str, str]]) -> list[tuple[ResultKind, Dataset]]:
    """The results of a set of (SOP Instance UID, SHA-256), the same each time."""
    of = hashlib.sha256(repr(sorted(images)).encode()).hexdigest()
    made = []
    for kind in KINDS:
        data = header(SecondaryCaptureImageStorage, uuid_uid(f"{study}|{of}|{kind}"), study)
        data.SeriesDescription = kind.value
        made.append((kind, data))
    return made


def image(study: int, number: int, **attributes: object) -> Dataset:
    """A small CT image, with a canary wherever a patient is named."""
    data = header(CTImageStorage, f"1.2.4.{study}.{number}", f"1.2.4.{study}")
    marked(data).Modality = "CT"
    data.ImageOrientationPatient, data.InstanceNumber = [1, 0, 0, 0, 1, 0], number
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    return data


def header(sop_class: str, uid: str, study: str) -> Dataset:
    """An image of 8 × 8."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = sop_class, uid
    data.StudyInstanceUID, data.SeriesInstanceUID = study, f"{study}.0"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Rows = data.Columns = 8
    data.PixelData = bytes(128)
    data["PixelData"].VR = "OW"
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return data


def _keep(worker: Any, data: Dataset, kind: ResultKind, position: int) -> StoredResult:
    kept = worker.store.keep([file_bytes(data)])
    return StoredResult(
        sop_instance_uid=str(data.SOPInstanceUID),
        sop_class_uid=str(data.SOPClassUID),
        series_instance_uid=str(data.SeriesInstanceUID),
        series_description=str(data.SeriesDescription),
        kind=kind,
        position=position,
        sha256=kept.sha256,
        size_bytes=kept.size_bytes,
    )
