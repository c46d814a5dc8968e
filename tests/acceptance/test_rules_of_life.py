"""Every study is answered in the PACS; what is overtaken is named, what is rejected taken back."""

import re
from io import BytesIO

import httpx
import pikepdf
import pytest
from node import running_node
from orthanc import running_orthanc
from pydicom import dcmread
from validators import dcentvfy, dciodvfy, sr_validator

from dicom_node.domain.delivery import ARRIVED
from dicom_node.send.cstore import send
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tensorflow,
    pytest.mark.redis,
    pytest.mark.orthanc,
    pytest.mark.validators,
    pytest.mark.timeout(600),
]
SR, PDF, KOS = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("88.34", "104.1", "88.59"))


@pytest.fixture(scope="module")
def pacs(tool, tmp_path_factory):
    with running_orthanc(tool("Orthanc"), tmp_path_factory.mktemp("orthanc")) as orthanc:
        yield orthanc


@pytest.fixture(scope="module")
def node(tool, pacs, tmp_path_factory):
    tool("redis-server")
    with running_node(tmp_path_factory.mktemp("node"), pacs.peer) as running:
        pacs.know(running.settings.listen)
        yield running


def returned(pacs, node, page, folder):
    """The results sent, as the PACS gives them back: path by UID, in the order of sending."""
    held = {i["SOPInstanceUID"]: i["_id"] for i in pacs.instances(page.study["study_instance_uid"])}
    paths = {}
    sent = sent_of(page)
    for number, row in enumerate(r for r in page.results if r["sop_instance_uid"] in sent):
        path = folder / f"result-{number}.dcm"
        path.write_bytes(pacs.file(held[row["sop_instance_uid"]]))
        assert dcmread(path) == dcmread(node.store.path(row["sha256"]))
        paths[row["sop_instance_uid"]] = path
    return paths


def sent_of(page):
    return {d["sop_instance_uid"] for d in page.deliveries if d["state"] in ARRIVED}


DROPPED = make_study(phantom(31_001, slices=12, size=64))
del DROPPED[5]
UNREAD = {
    "a modality that no model reads": (
        make_study(phantom(31_000, slices=3, size=64), attributes={"Modality": "MR"}),
        "DECLINED", ["NO_MODEL", "Not Attempted", "Object Types not supported"],
    ),
    "a series with a gap": (
        DROPPED, "QUARANTINED",
        ["SLICE_SET", "Not Attempted", "Object Set incomplete", "Undetermined"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNREAD)
def test_a_study_without_a_result_is_answered_in_the_pacs(case, pacs, node, tmp_path):
    study, state, words = UNREAD[case]
    files = save_study(study, tmp_path)
    node.send(files)
    list(send(pacs.peer, files))
    page = node.wait(study[0].StudyInstanceUID)
    (job,) = page.jobs
    assert job["state"] == state
    page = node.wait_for_proof(study[0].StudyInstanceUID)
    assert [d["state"] for d in page.deliveries] == ["CONFIRMED", "CONFIRMED", "NOT_NEEDED"]
    paths = list(returned(pacs, node, page, tmp_path).values())
    told = {dcmread(path).SOPClassUID: path for path in paths}
    text = dcmread(told[SR]).to_json()
    assert [word for word in words if word not in text] == []
    assert '"Absent"' not in text
    assert b"This is not a negative result." in page_in(dcmread(told[PDF]))
    assert [fault for path in paths for fault in dciodvfy(path)] == []
    assert dcentvfy([*files, *paths]) == []
    assert sr_validator(told[SR]) == []
    shown = httpx.get(f"{node.page}/studies/{study[0].StudyInstanceUID}").text
    assert "No result" in shown
    assert "AI " in shown


def page_in(document):
    """The HTML report that a PDF of the PACS carries."""
    pdf = document.EncapsulatedDocument[: document.EncapsulatedDocumentLength]
    with pikepdf.open(BytesIO(pdf)) as opened:
        return opened.attachments["report.html"].get_file().read_bytes()


def test_late_images_make_a_report_that_replaces_the_first(pacs, node, tmp_path):
    study = make_study(phantom(31_002, slices=12, size=64))
    files = save_study(study, tmp_path)
    list(send(pacs.peer, files))
    node.send(files[:8])
    first = node.wait(study[0].StudyInstanceUID)
    old = {r["kind"]: r["sop_instance_uid"] for r in first.results}
    node.send(files[8:])
    node.wait_for(lambda: len(node.ledger.pages.study(study[0].StudyInstanceUID).jobs) == 2)
    second = node.wait(study[0].StudyInstanceUID)
    paths = returned(pacs, node, second, tmp_path)
    standing = {r["kind"]: r for r in second.results if not r["superseded_by"]}
    for kind in ("STRUCTURED_REPORT", "ENCAPSULATED_PDF"):
        path = paths[standing[kind]["sop_instance_uid"]]
        (replaced,) = dcmread(path).PredecessorDocumentsSequence
        (reference,) = replaced.ReferencedSeriesSequence[0].ReferencedSOPSequence
        assert reference.ReferencedSOPInstanceUID == old[kind]
        assert dciodvfy(path) == []
    report = httpx.get(f"{node.page}/jobs/{standing['ENCAPSULATED_PDF']['job_id']}/report")
    assert page_in(dcmread(path)) == report.content
    overtaken = {r["sop_instance_uid"] for r in second.results if r["superseded_by"]}
    assert overtaken == {r["sop_instance_uid"] for r in first.results}
    assert "superseded" in httpx.get(f"{node.page}/studies/{study[0].StudyInstanceUID}").text


def tracked(node, page, kind):
    """Tracking UID by identifier, as a result of the study has them."""
    row = next(r for r in page.results if r["kind"] == kind and not r["superseded_by"])
    dataset = dcmread(node.store.path(row["sha256"]))
    if kind == "SEGMENTATION":
        return {s.TrackingID: s.TrackingUID for s in dataset.SegmentSequence}
    (measured,) = [i for i in dataset.ContentSequence if named(i) == "Imaging Measurements"]
    groups = [{named(i): i for i in group.ContentSequence} for group in measured.ContentSequence]
    return {g["Tracking Identifier"].TextValue: g["Tracking Unique Identifier"].UID for g in groups}


def named(item):
    return item.ConceptNameCodeSequence[0].CodeMeaning


def test_a_larger_lesion_in_late_images_leaves_the_first_its_name(pacs, node, tmp_path):
    """The larger one lies in the last ten of 24 slices, and the first in those before."""
    study = make_study(phantom(31_163, lesions=2, slices=24, size=128))
    files = save_study(study, tmp_path)
    list(send(pacs.peer, files))
    node.send(files[:14])
    first = node.wait(study[0].StudyInstanceUID)
    before = tracked(node, first, "STRUCTURED_REPORT")
    assert len(before) == 1
    node.send(files[14:])
    node.wait_for(lambda: len(node.ledger.pages.study(study[0].StudyInstanceUID).jobs) == 2)
    second = node.wait(study[0].StudyInstanceUID)
    after = tracked(node, second, "STRUCTURED_REPORT")
    assert len(after) == 2
    assert before.items() <= after.items()
    assert after.items() <= tracked(node, second, "SEGMENTATION").items()
    standing = [r for r in second.results if not r["superseded_by"]]
    job = next(j for j in second.jobs if j["id"] == standing[0]["job_id"])
    assert [t["tracking_id"] for t in job["summary"]["tracked"]][:1] == list(before)


def test_a_rejected_result_is_retracted_in_the_pacs(pacs, node, tmp_path):
    study = make_study(phantom(31_003, slices=12, size=64))
    files = save_study(study, tmp_path)
    list(send(pacs.peer, files))
    node.send(files)
    page = node.wait(study[0].StudyInstanceUID)
    (job,) = page.jobs
    sent = sent_of(page)
    made = len(page.results)
    with httpx.Client(base_url=node.page, headers={"Origin": node.page}) as reader:
        html = reader.get(f"/jobs/{job['id']}").text
        fields = {"token": re.search('name="token" value="([^"]+)"', html)[1], "reader": "Weber"}
        path = f"/jobs/{job['id']}"
        answer = reader.post(f"{path}/review", data={**fields, "verdict": "DISAGREE"})
        assert answer.status_code == 303
        answer = reader.post(f"{path}/reject", data={**fields, "sure": "yes", "comment": "A cyst."})
        assert answer.status_code == 303
    node.wait_for(lambda: len(node.ledger.pages.study(study[0].StudyInstanceUID).results) > made)
    page = node.wait(study[0].StudyInstanceUID)
    paths = returned(pacs, node, page, tmp_path)
    (note,) = [path for path in paths.values() if dcmread(path).SOPClassUID == KOS
               and dcmread(path).ConceptNameCodeSequence[0].CodeValue == "113001"]  # fmt: skip
    told = {
        reference.ReferencedSOPInstanceUID
        for series in dcmread(note)
        .CurrentRequestedProcedureEvidenceSequence[0]
        .ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    assert told == sent
    assert dciodvfy(note) == []
    assert sr_validator(note) == []
    assert dcentvfy([*files, *paths.values()]) == []
    assert "Rejected" in httpx.get(f"{node.page}/").text
