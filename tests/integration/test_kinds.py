"""What one destination alone asks for is made for it, and goes to it alone.

What it gets names nothing that it does not get, whatever others get.
"""

from datetime import UTC, datetime

import pytest
from clinic import Clinic
from pydicom import dcmread

from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.review import Review, Verdict
from dicom_node.settings.results import Destination, Results
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study
from reports.writer import WRITERS
from workers import tasks

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SR = ResultKind.STRUCTURED_REPORT
KINDS = tuple(writer.kind for writer in WRITERS)
NOT_OF_NOTHING = {
    ResultKind.DERIVED_IMAGE,
    ResultKind.SEGMENTATION,
    ResultKind.PRESENTATION_STATE,
    ResultKind.KEY_OBJECTS,
}
"""What is not made where a model finds nothing."""

OTHER = {"archive": "referrers", "referrers": "archive"}


def peer(name, kinds=None):
    return Destination(name=name, host="127.0.0.1", port=104, ae_title="A", kinds=kinds)


@pytest.fixture
def clinic(tmp_path):
    made = Clinic(tmp_path)
    yield made
    made.close()


def sends(clinic, kinds, *destinations):
    """Settings of a node with these destinations."""
    update = {"results": Results(kinds=kinds), "destinations": destinations}
    settings = clinic.world.settings.model_copy(update=update)
    clinic.world.settings = clinic.worker.settings = settings
    clinic.world.restart()


def analysed(clinic, slices=3):
    study = make_study(phantom(1, slices=slices, size=64))
    clinic.send(study)
    clinic.answer()
    return study


def got(clinic, study):
    """Rows of the latest results that each destination is to get, in the order of sending."""
    page = clinic.page(study)
    latest = max(page.jobs, key=lambda job: job["generation"])["id"]
    found = {}
    for row in sorted(page.results, key=lambda row: row["position"]):
        for each in page.deliveries:
            if row["job_id"] == latest and each["sop_instance_uid"] == row["sop_instance_uid"]:
                found.setdefault(each["destination"], []).append(row)
    return found


def kinds_of(rows):
    return {row["kind"] for row in rows}


def named_in(clinic, row):
    """What a result says, as text: UIDs stand in it as they are."""
    return dcmread(clinic.world.store.path(row["sha256"]), stop_before_pixels=True).to_json()


def test_each_kind_goes_to_who_asks_for_it_and_to_nobody_else(clinic):
    """A destination for each kind, and one that asks for nothing of its own."""
    asking = [peer(kind.value, (kind.value,)) for kind in KINDS]
    sends(clinic, ("SECONDARY_CAPTURE",), peer("archive"), *asking)
    found = got(clinic, analysed(clinic))
    made = {kind for kind in KINDS if kind not in NOT_OF_NOTHING}
    made -= {ResultKind.COLOR_PRESENTATION_STATE}  # without the map there is nothing to colour
    wanted = {"archive": {ResultKind.SECONDARY_CAPTURE}} | {kind.value: {kind} for kind in made}
    assert {name: kinds_of(rows) for name, rows in found.items()} == wanted


def test_documents_name_what_their_readers_have_from_the_first_to_the_last(clinic):
    """In results, in those that replace them, and in the note that takes them back."""
    asked = ("SECONDARY_CAPTURE", SR.value)
    sends(clinic, asked, peer("archive"), peer("referrers", (SR.value,)))
    study = make_study(phantom(1, slices=4, size=64))
    clinic.send(study[:3])
    clinic.answer()
    first = got(clinic, study)
    reports = {name: rows[-1]["sop_instance_uid"] for name, rows in first.items()}
    assert reports["archive"] != reports["referrers"]
    (picture,) = (row["sop_instance_uid"] for row in first["archive"] if row["kind"] != SR)
    assert picture in named_in(clinic, first["archive"][-1])
    assert picture not in named_in(clinic, first["referrers"][-1])

    clinic.send(study[3:])
    clinic.answer()
    second = got(clinic, study)
    for name, other in OTHER.items():
        said = named_in(clinic, second[name][-1])
        assert reports[name] in said
        assert reports[other] not in said

    _rejected_after_all_was_sent(clinic, study)
    for name, other in OTHER.items():
        *sent, note = got(clinic, study)[name]
        assert note["kind"] == ResultKind.REJECTION_NOTE
        said, theirs = named_in(clinic, note), {row["sop_instance_uid"] for row in sent}
        assert all(uid in said for uid in theirs)
        rest = {row["sop_instance_uid"] for row in second[other]} - theirs
        assert rest
        assert not any(uid in said for uid in rest)


def _rejected_after_all_was_sent(clinic, study):
    job = max(clinic.page(study).jobs, key=lambda job: job["generation"])["id"]
    for name in OTHER:
        shipment = clinic.ledger.deliveries.claim(job, name)
        for each in shipment.deliveries:
            clinic.ledger.deliveries.sent(shipment, each)
    said = Review(job, "Weber, Anna", Verdict.REJECT, "A cyst.", datetime.now(UTC))
    assert clinic.ledger.rejections.ask(said)
    assert clinic.ledger.rejections.waiting() == [job]
    tasks.analyse(clinic.worker, job)
