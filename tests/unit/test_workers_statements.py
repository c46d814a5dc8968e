"""Silence never reads as negative: each study without a result is answered, exactly once."""

from datetime import UTC, datetime
from pathlib import Path

import analyses
import pytest
from pydicom import dcmread
from structlog.testing import capture_logs
from world import World, receive_all, state_of

from dicom_node.catalog import BundleFolder, Catalog
from dicom_node.domain.delivery import DEFAULT_KINDS, DeliveryState, ResultKind
from dicom_node.domain.errors import Unusable
from dicom_node.domain.job import UNTELLABLE
from dicom_node.domain.review import Review, Verdict
from dicom_node.settings.results import Destination, Results
from dicom_node.sweep import TELLABLE
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study
from reports.case import Case
from reports.writer import write_results
from workers.bootstrap import Worker, in_order
from workers.tasks import analyse
from workers.volume import read_series

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
PACS = tuple(Destination(name=n, host="127.0.0.1", port=104, ae_title="A") for n in ("one", "two"))


class Place(World):
    """A sweep, and a worker that answers its rings but runs no model."""

    def __init__(self, folder, answers="every", **attributes):
        bundles = (BundleFolder(Path("x"), analyses.manifest(version="1.0.0"), "b0" * 32),)
        super().__init__(folder, bundles)
        results = Results(answers=answers, kinds=(ResultKind.STRUCTURED_REPORT,))
        self.settings = self.settings.model_copy(update={"destinations": PACS, "results": results})
        self.restart()
        self.worker = Worker(self.settings, self.ledger, self.store, Catalog(bundles))
        self.study = make_study(phantom(1, slices=3, size=32), attributes=attributes)

    def close_study(self):
        receive_all(self, self.study)
        self.pass_time(60)

    def listen_to_rings(self):
        """Do what the sweep rang for."""
        rung, self.broker.jobs[:] = list(self.broker.jobs), []
        for job_id in rung:
            analyse(self.worker, job_id)
        return rung

    def quarantine(self, reason):
        """Give up the job that waits."""
        (job_id,) = self.ledger.jobs.waiting()
        self.ledger.jobs.quarantine(self.ledger.jobs.claim(job_id), reason)
        self.broker.jobs.clear()
        self.pass_time(31)
        return job_id

    def page(self):
        return self.ledger.pages.study(self.study[0].StudyInstanceUID)

    def documents(self):
        return [dcmread(self.store.path(row["sha256"])) for row in self.page().results]


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    yield made
    made.close()


def said(document):
    """Texts and meanings of the whole document."""
    return document.to_json()


def test_a_study_that_no_model_reads_is_answered_once_and_sent_everywhere(tmp_path):
    place = Place(tmp_path, Modality="US")
    place.close_study()
    assert place.listen_to_rings()
    (document,) = place.documents()
    assert "NO_MODEL" in said(document)
    assert "phantom-lesion@1.0.0: modality US, not CT" in said(document)
    listed = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert len(listed.ReferencedSOPSequence) == 3
    assert [d["destination"] for d in place.page().deliveries] == ["one", "two"]
    place.pass_time(60)
    assert place.broker.jobs == []
    place.close()


def test_a_failed_job_is_answered_with_its_reason(place):
    place.close_study()
    job_id = place.quarantine("GEOMETRY")
    assert place.listen_to_rings() == [job_id]
    (document,) = place.documents()
    assert "GEOMETRY" in said(document)
    assert place.page().events[-1]["action"] == "job.answered"
    place.pass_time(60)
    assert place.broker.jobs == []


def test_a_job_that_crashes_every_worker_is_answered(place):
    place.close_study()
    (job_id,) = place.ledger.jobs.waiting()
    for _ in range(3):
        place.ledger.jobs.release(place.ledger.jobs.claim(job_id), "LEASE_LOST")
    place.pass_time(10)
    place.listen_to_rings()
    assert "LEASE_LOST" in said(place.documents()[0])


def test_the_same_failure_after_a_retry_is_not_answered_again_but_another_is(place):
    place.close_study()
    job_id = place.quarantine("GEOMETRY")
    place.listen_to_rings()
    place.ledger.jobs.retry(job_id)
    place.quarantine("GEOMETRY")
    place.listen_to_rings()
    assert len(place.documents()) == 1
    for reason in ("VALUE", "GEOMETRY"):
        place.ledger.jobs.retry(job_id)
        place.quarantine(reason)
        place.listen_to_rings()
    assert len(place.documents()) == 3
    standing = [row for row in place.page().results if not row["superseded_by"]]
    assert len(standing) == 1


def test_an_answer_has_every_form_of_sr_that_the_site_wants(tmp_path):
    place = Place(tmp_path)
    kinds = (ResultKind.STRUCTURED_REPORT, ResultKind.FLAT_REPORT)
    results = place.settings.results.model_copy(update={"kinds": kinds})
    place.worker.settings = place.settings.model_copy(update={"results": results})
    place.close_study()
    job_id = place.quarantine("GEOMETRY")
    place.listen_to_rings()
    names = [document.SOPClassUID.name for document in place.documents()]
    assert names == ["Comprehensive 3D SR Storage", "Comprehensive SR Storage"]
    assert all("GEOMETRY" in said(document) for document in place.documents())
    place.ledger.jobs.retry(job_id)
    place.quarantine("VALUE")
    place.listen_to_rings()
    for old, new in zip(
        *(sorted_by_form(place, reason) for reason in ("GEOMETRY", "VALUE")), strict=True
    ):
        assert replaced_by(new) == [old.SOPInstanceUID]
    place.close()


def test_a_site_that_takes_no_sr_gets_the_answer_as_a_page(tmp_path):
    place = Place(tmp_path)
    kinds = (ResultKind.SECONDARY_CAPTURE, ResultKind.ENCAPSULATED_PDF)
    results = place.settings.results.model_copy(update={"kinds": kinds})
    place.worker.settings = place.settings.model_copy(update={"results": results})
    place.close_study()
    job_id = place.quarantine("GEOMETRY")
    place.listen_to_rings()
    (document,) = place.documents()
    assert document.SOPClassUID.name == "Encapsulated PDF Storage"
    assert [d["destination"] for d in place.page().deliveries] == ["one", "two"]
    place.ledger.jobs.retry(job_id)
    place.quarantine("VALUE")
    place.listen_to_rings()
    later = next(d for d in place.documents() if d.SOPInstanceUID != document.SOPInstanceUID)
    assert replaced_by(later) == [document.SOPInstanceUID]
    place.close()


def test_a_destination_that_wants_a_page_gets_one_where_the_site_wants_none(tmp_path):
    place = Place(tmp_path)
    wants = PACS[1].model_copy(update={"kinds": (ResultKind.ENCAPSULATED_PDF,)})
    place.worker.settings = place.settings.model_copy(update={"destinations": (PACS[0], wants)})
    place.close_study()
    place.quarantine("GEOMETRY")
    place.listen_to_rings()
    page = place.page()
    kinds = {row["sop_instance_uid"]: row["kind"] for row in page.results}
    sent = {(d["destination"], kinds[d["sop_instance_uid"]]) for d in page.deliveries}
    assert sent == {("one", "STRUCTURED_REPORT"), ("two", "ENCAPSULATED_PDF")}
    place.close()


def test_a_site_that_takes_no_document_is_not_said_to_be_answered(tmp_path):
    place = Place(tmp_path)
    kinds = (ResultKind.SECONDARY_CAPTURE,)
    results = place.settings.results.model_copy(update={"kinds": kinds})
    place.worker.settings = place.settings.model_copy(update={"results": results})
    place.close_study()
    place.quarantine("GEOMETRY")
    with capture_logs() as lines:
        place.listen_to_rings()
    assert place.documents() == []
    assert place.page().events[-1]["action"] == "job.unanswerable"
    assert [line["event"] for line in lines] == ["job.unanswerable"]
    place.close()


def sorted_by_form(place, reason):
    found = [document for document in place.documents() if reason in said(document)]
    return sorted(found, key=lambda document: document.SOPClassUID)


def replaced_by(document):
    """UIDs of the documents that it takes the place of, all of one study."""
    (study,) = document.PredecessorDocumentsSequence
    return [
        reference.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    ]


def test_two_workers_that_hear_one_ring_answer_once(place):
    place.close_study()
    job_id = place.quarantine("GEOMETRY")
    analyse(place.worker, job_id)
    analyse(place.worker, job_id)
    assert len(place.documents()) == 1
    assert len(place.page().deliveries) == 2


@pytest.mark.parametrize(
    ("answers", "modality", "expected"),
    [("none", "CT", 0), ("none", "US", 0), ("failures", "CT", 1), ("failures", "US", 0)],
)
def test_a_site_may_want_fewer_answers(tmp_path, answers, modality, expected):
    place = Place(tmp_path, answers, Modality=modality)
    place.close_study()
    if modality == "CT":
        place.quarantine("GEOMETRY")
    place.listen_to_rings()
    assert len(place.documents()) == expected
    place.close()


def test_images_that_contradict_each_other_are_answered_but_two_patients_never(place):
    receive_all(place, place.study)
    place.study[0].SeriesDescription = "changed"
    place.receive(place.study[0])
    place.sweep.once()
    place.pass_time(60)
    place.listen_to_rings()
    assert "UID_CONFLICT" in said(place.documents()[0])
    place.study[1].PatientID = "SOMEONE ELSE"
    place.study[1].SOPInstanceUID += ".1"
    place.receive(place.study[1])
    place.sweep.once()
    place.pass_time(60)
    place.listen_to_rings()
    assert len(place.documents()) == 1


def test_a_series_of_two_patients_is_told_to_neither_of_them(place):
    place.close_study()
    place.quarantine("PATIENT_MIX")
    place.listen_to_rings()
    assert place.documents() == []
    assert place.page().events[-1]["action"] == "job.unanswerable"
    place.pass_time(60)
    assert place.broker.jobs == []


def test_what_the_sweep_tells_of_a_study_may_be_told():
    assert not TELLABLE & UNTELLABLE


def test_a_study_that_a_model_reads_later_replaces_the_answer(tmp_path):
    place = Place(tmp_path, Modality="US")
    place.close_study()
    place.listen_to_rings()
    more = make_study(phantom(2, slices=3, size=32), attributes={
        "StudyInstanceUID": place.study[0].StudyInstanceUID, "PatientID": "PHANTOM-1",
    })  # fmt: skip
    receive_all(place, more)
    place.pass_time(60)
    place.quarantine("SLICE_SET")
    place.listen_to_rings()
    old, new = sorted(place.documents(), key=lambda d: "SLICE_SET" in said(d))
    (study,) = new.PredecessorDocumentsSequence
    replaced = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert replaced.ReferencedSOPInstanceUID == old.SOPInstanceUID
    by_uid = {row["sop_instance_uid"]: row["superseded_by"] for row in place.page().results}
    assert by_uid[new.SOPInstanceUID] == ""
    assert by_uid[old.SOPInstanceUID] != ""
    place.close()


def alter(place, count, find, at):
    """Change a byte behind a mark in the first so many stored images."""
    (job_id,) = place.ledger.jobs.waiting()
    for file in place.worker.files(place.ledger.jobs.get(job_id))[:count]:
        raw = bytearray(file.path.read_bytes())
        raw[raw.index(find) + at] ^= 0x01
        file.path.write_bytes(raw)
    return job_id


PIXELS, PATIENT = b"\xe0\x7f\x10\x00", b"\x10\x00\x20\x00LO"


@pytest.mark.parametrize(("find", "at"), [(PIXELS, 40), (PATIENT, 9)])
def test_an_image_that_is_not_as_it_was_received_is_not_read(place, find, at):
    place.close_study()
    job_id = alter(place, 1, find, at)
    files = place.worker.files(place.ledger.jobs.get(job_id))
    with pytest.raises(Unusable) as caught:
        read_series(files)
    assert caught.value.code == "ALTERED"
    read_series(files[1:])
    files[1].path.unlink()
    with pytest.raises(Unusable) as caught:
        read_series(files[1:])
    assert caught.value.code == "ALTERED"


@pytest.mark.parametrize("count", [1, 3])
def test_altered_images_are_answered_by_a_header_that_is_known(place, count):
    """Of another image, or by one that says what it said when the study was closed."""
    place.close_study()
    alter(place, count, PIXELS, 40)
    place.quarantine("ALTERED")
    place.listen_to_rings()
    (document,) = place.documents()
    assert "ALTERED" in said(document)
    assert "Equipment failure" in said(document)
    assert document.PatientID == place.study[0].PatientID


def test_no_document_goes_to_a_patient_that_an_altered_header_names(place):
    place.close_study()
    alter(place, 3, PATIENT, 9)
    place.quarantine("ALTERED")
    place.listen_to_rings()
    assert place.documents() == []
    assert place.page().events[-1]["action"] == "job.unanswerable"


def test_a_job_of_which_no_header_can_be_read_is_given_up(place):
    place.close_study()
    for instance in place.ledger.studies.instances(place.study[0].StudyInstanceUID):
        path = place.store.path(instance.sha256)
        path.chmod(0o600)
        path.write_bytes(b"gone")
    place.quarantine("UNPARSEABLE")
    place.listen_to_rings()
    assert place.documents() == []
    assert place.page().events[-1]["action"] == "job.unanswerable"
    place.pass_time(60)
    assert place.broker.jobs == []


def analysed(place):
    """A finished job with real objects, none of them sent; its id."""
    place.close_study()
    (job_id,) = place.ledger.jobs.waiting()
    claim = place.ledger.jobs.claim(job_id)
    results = in_order(write_results(Case(analyses.analysis())))
    stored = [place.worker.keep(result, n) for n, result in enumerate(results)]
    kinds = {d.name: DEFAULT_KINDS for d in PACS}
    place.ledger.jobs.complete(claim, stored, kinds, summary={}, report_sha256="")
    return job_id


def send(place, job_id, destination, count):
    shipment = place.ledger.deliveries.claim(job_id, destination)
    for delivery in shipment.deliveries[:count]:
        place.ledger.deliveries.sent(shipment, delivery)
    return shipment


def reject(place, job_id):
    word = Review(job_id, "Weber, Anna", Verdict.REJECT, "A cyst.", datetime.now(UTC))
    return place.ledger.rejections.ask(word)


def test_a_rejected_result_is_retracted_wherever_it_went(place):
    job_id = analysed(place)
    shipment = send(place, job_id, "one", 99)
    assert reject(place, job_id)
    assert not reject(place, job_id)
    place.broker.jobs.clear()
    place.pass_time(1)
    assert place.listen_to_rings() == [job_id]
    (note,) = [d for d in place.documents() if d.Modality == "KO" and "113001" in said(d)]
    told = [
        r.ReferencedSOPInstanceUID
        for s in note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for r in s.ReferencedSOPSequence
    ]
    assert sorted(told) == sorted(d.result.sop_instance_uid for d in shipment.deliveries)
    deliveries = place.page().deliveries
    to_two = {d["state"] for d in deliveries if d["destination"] == "two"}
    assert to_two == {DeliveryState.WITHDRAWN}
    waiting = [d for d in deliveries if d["state"] == DeliveryState.READY]
    assert [(d["sop_instance_uid"], d["destination"]) for d in waiting] == [
        (note.SOPInstanceUID, "one")
    ]
    last = place.ledger.deliveries.claim(job_id, "one")
    assert [d.result.kind for d in last.deliveries] == [ResultKind.REJECTION_NOTE]
    place.pass_time(60)
    assert place.broker.jobs == []


def test_what_is_on_its_way_while_a_reader_rejects_is_waited_for_and_told(place):
    job_id = analysed(place)
    shipment = send(place, job_id, "one", 1)
    assert reject(place, job_id)
    assert place.ledger.rejections.waiting() == []
    place.ledger.deliveries.sent(shipment, shipment.deliveries[1])
    for rest in shipment.deliveries[2:]:
        place.ledger.deliveries.postpone(shipment, rest, "PEER_UNREACHABLE")
    assert place.ledger.rejections.waiting() == [job_id]
    analyse(place.worker, job_id)
    note = next(d for d in place.documents() if "113001" in said(d))
    assert len(note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence) == 2
    states = {d["state"] for d in place.page().deliveries if d["destination"] == "one"}
    assert states == {DeliveryState.SENT, DeliveryState.WITHDRAWN, DeliveryState.READY}


def test_a_result_that_nobody_got_is_withdrawn_without_a_note(place):
    job_id = analysed(place)
    reject(place, job_id)
    assert place.ledger.rejections.waiting() == []
    assert place.ledger.deliveries.claim(job_id, "one") is None
    assert {d["state"] for d in place.page().deliveries} == {DeliveryState.WITHDRAWN}


def test_a_job_without_a_result_cannot_be_rejected(place):
    place.close_study()
    (job_id,) = place.ledger.jobs.waiting()
    assert not reject(place, job_id)
    assert state_of(place, place.study)["state"] == "ROUTED"
