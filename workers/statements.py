"""What the node says without a model: why there is no result, and that a result is taken back."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.domain.analysis import ResultInstance
from dicom_node.domain.asked import all_asked
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.errors import ConfigurationError, UndecodablePixels
from dicom_node.domain.job import NODE, UNTELLABLE, Job
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.provenance import Provenance
from dicom_node.header_reader import value_of
from dicom_node.headers import SHOWN
from dicom_node.ledger.succession import Row
from dicom_node.observe import log
from reports.answer import ANSWERS, answer_document
from reports.references import Reference
from reports.rejection import Rejection, rejection_note
from reports.source import Sources, repaired_sources
from reports.subject import Maker
from reports.unanalysed import Answer
from workers.bootstrap import Worker, addressed, in_order, report_settings
from workers.reader import READER, Room

MOST_HEADERS = 20
"""Images whose headers are tried for the patient and the study."""


def speak(worker: Worker, job_id: str) -> None:
    """Write what is owed of a job that nobody may claim; nothing, if nothing is."""
    job = worker.ledger.jobs.get(job_id)
    if job_id in worker.ledger.rejections.waiting():
        _retract(worker, job)
    elif job_id in worker.ledger.answers.waiting(worker.settings.results.answered):
        _answer(worker, job)


def _answer(worker: Worker, job: Job) -> None:
    results = () if job.reason in UNTELLABLE else _documents(worker, job)
    stored = [worker.keep(result, position) for position, result in enumerate(results)]
    worker.ledger.answers.give(job, stored, worker.settings.wanted, addressed(results))
    said = "job.answered" if stored else "job.unanswerable"
    log("worker").info(said, job=job.id, reason=job.reason)


def _documents(worker: Worker, job: Job) -> Sequence[ResultInstance]:
    """The answer in every form that is wanted; none where it is not known whose it would be.

    One for all destinations that it takes the place of the same documents for.
    """
    try:
        sources = _sources(worker, job)
    except UndecodablePixels as error:
        log("worker").warning("job.headless", job=job.id, reason=error.code, exc_info=error)
        return ()
    results = []
    for predecessors, names in _replaced(worker, job).items():
        answer = _what_is_known(worker, job, sources, predecessors)
        wanted = _wanted(worker, names)
        results += [replace(answer_document(answer, kind), readers=names) for kind in wanted]
    return in_order(results)


def _wanted(worker: Worker, names: tuple[str, ...] | None) -> list[ResultKind]:
    """Kinds of answers that these destinations get; without any, all that are made."""
    kinds = worker.settings.written.kinds
    if names is not None:
        kinds = tuple(kind for name in names for kind in worker.settings.wanted[name])
    return [kind for kind in ANSWERS if kind in kinds]


def _replaced(worker: Worker, job: Job) -> dict[tuple[Reference, ...], tuple[str, ...] | None]:
    """What the answer takes the place of, and the destinations that were to get it."""
    found: dict[tuple[Reference, ...], tuple[str, ...] | None] = {}
    for name, kinds in worker.settings.wanted.items():
        if set(kinds).intersection(ANSWERS):
            earlier = worker.predecessors(job, [name])
            found[earlier] = (*(found.get(earlier) or ()), name)
    return found or {worker.predecessors(job): None}


def _what_is_known(
    worker: Worker, job: Job, sources: Sources, predecessors: tuple[Reference, ...]
) -> Answer:
    manifest = _manifest(worker, job)
    return Answer(
        reason=job.reason,
        sources=sources,
        images=_images(worker, job),
        maker=_maker(job, manifest),
        provenance=_depending_on(worker, job, predecessors),
        settings=report_settings(worker.settings.results),
        model_name=job.model_name,
        asked=all_asked(manifest) if manifest else (),
        selection=job.selection,
        predecessors=predecessors,
    )


def _depending_on(worker: Worker, job: Job, predecessors: Iterable[Reference]) -> Provenance:
    """Another reason, or another document to replace, makes another document."""
    parts = [job.input_sha256, job.reason, *(p.sop_instance_uid for p in predecessors)]
    digest = hashlib.sha256("|".join(parts).encode()).hexdigest()
    return replace(worker.provenance(job), input_sha256=digest)


def _images(worker: Worker, job: Job) -> tuple[Reference, ...]:
    classes = {
        i.sop_instance_uid: i.sop_class_uid
        for i in worker.ledger.studies.instances(job.study_instance_uid)
    }
    return tuple(
        Reference(job.study_instance_uid, series.series_instance_uid, classes[uid], uid)
        for series in job.inputs
        for uid, _ in series.instances
        if uid in classes
    )


def _sources(worker: Worker, job: Job) -> Sources:
    """The first header that can be read; ``UndecodablePixels`` (UNPARSEABLE) if none can.

    Of an image that is as it was received, if there is one; else of one whose header says of
    patient and study what it said when the study was closed.
    """
    last: Exception | None = None
    files = worker.files(job)[:MOST_HEADERS]
    for file in (*files, *(replace(file, expected="") for file in files)):
        try:
            header = READER.header(file, Room())
            if file.expected or _is_remembered(worker, job, header):
                return repaired_sources([header])
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the next may do
            last = error
    raise UndecodablePixels(f"no header of job {job.id} can be read", code="UNPARSEABLE") from last


def _is_remembered(worker: Worker, job: Job, header: Dataset) -> bool:
    page = worker.ledger.pages.study(job.study_instance_uid)
    if page is None or header.StudyInstanceUID != job.study_instance_uid:
        return False
    header.decode()
    known = page.study["attributes"]
    return all(key in known and value_of(header, key) == known[key] for key in SHOWN)


def _manifest(worker: Worker, job: Job) -> ModelManifest | None:
    try:
        return worker.catalog.find(f"{job.model_name}@{job.model_version}").manifest
    except ConfigurationError:
        return None


def _maker(job: Job, manifest: ModelManifest | None) -> Maker:
    if manifest is not None:
        return Maker.model(manifest, job.bundle_sha256)
    if job.model_name == NODE:
        return Maker.node()
    name = f"{job.model_name}@{job.model_version}"
    return replace(Maker.node(), title=job.model_name, id=name, version=job.model_version)


def _retract(worker: Worker, job: Job) -> None:
    """By one note for all destinations that have the same of it."""
    rejections = worker.ledger.rejections
    word, sent = rejections.word(job.id), rejections.sent(job.id)
    having: dict[tuple[str, ...], list[str]] = {}
    for name, rows in sent.items():
        having.setdefault(tuple(row["sop_instance_uid"] for row in rows), []).append(name)
    notes = []
    for number, names in enumerate(having.values()):
        data = [_data(worker, row) for row in sent[names[0]]]
        note = rejection_note(_rejection(worker, job, word, data), number)
        last = 1 + max(row["position"] for rows in sent.values() for row in rows)
        notes.append((worker.keep(note, last + number), names))
    told = {name: [row["sop_instance_uid"] for row in rows] for name, rows in sent.items()}
    rejections.tell(job.id, notes, told)
    log("worker").info("job.retracted", job=job.id, count=len({u for each in having for u in each}))


def _data(worker: Worker, row: Row) -> Dataset:
    return dcmread(worker.store.path(row["sha256"]), stop_before_pixels=True)


def _rejection(
    worker: Worker, job: Job, word: Mapping[str, object], sent: list[Dataset]
) -> Rejection:
    return Rejection(
        sent=tuple(sent),
        reader=str(word["reader"]),
        comment=str(word["comment"]),
        rejected_at=datetime.fromtimestamp(float(str(word["at"])), UTC),
        sources=repaired_sources(sent[-1:]),
        maker=_maker(job, _manifest(worker, job)),
        provenance=worker.provenance(job),
        settings=report_settings(worker.settings.results),
    )
