"""A study sent by C-STORE comes back to a real PACS as SEG, SR, capture and report, and the PACS
commits to them."""

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import highdicom as hd
import httpx
import numpy as np
import pytest
from node import Node, running_node
from orthanc import Orthanc, running_orthanc
from pydicom import dcmread
from validators import dcentvfy, dciodvfy, sr_validator

from dicom_node.send.cstore import send
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tensorflow,
    pytest.mark.redis,
    pytest.mark.orthanc,
    pytest.mark.dcmtk,
    pytest.mark.validators,
    pytest.mark.timeout(600),
]
KINDS = {
    "Segmentation Storage": "SEG",
    "Comprehensive 3D SR Storage": "SR",
    "Parametric Map Storage": "PM",
    "Secondary Capture Image Storage": "SC",
    "Multi-frame True Color Secondary Capture Image Storage": "SC",
    "Encapsulated PDF Storage": "PDF",
}
PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")


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


def come_back(pacs: Orthanc, node: Node, files: list[Path]) -> tuple[str, list[Path]]:
    """Wait until all results are confirmed; (study, the objects as the PACS gives them back)."""
    study = str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    page = node.wait(study)
    assert [j["state"] for j in page.jobs] == ["ANALYSED"], [j["reason"] for j in page.jobs]
    page = node.wait_for_proof(study)
    ours = {d["sop_instance_uid"] for d in page.deliveries if d["state"] == "CONFIRMED"}
    assert len(ours) == len(page.results) - 1, "all but the flat form of the report"
    folder = node.settings.data_dir / "returned" / study
    folder.mkdir(parents=True)
    returned = []
    for number, instance in enumerate(pacs.instances(study)):
        if instance["SOPInstanceUID"] in ours:
            path = folder / f"{number}.dcm"
            path.write_bytes(pacs.file(instance["_id"]))
            returned.append(path)
    assert len(returned) == len(ours)
    return study, returned


def kinds_of(paths: list[Path]) -> Counter[str]:
    names = [dcmread(p, stop_before_pixels=True).SOPClassUID.name for p in paths]
    return Counter(KINDS[name] for name in names)


def assert_valid(sources: list[Path], results: list[Path]) -> None:
    for path in results:
        assert dciodvfy(path) == [], path
    assert dcentvfy([*sources, *results]) == []
    for path in results:
        if dcmread(path, stop_before_pixels=True).SOPClassUID.name.endswith("SR Storage"):
            assert sr_validator(path) == []


@pytest.mark.shared
@pytest.mark.parametrize("series", ["series-ct-kits-00072", "series-ct-acrin-flt-breast-001"])
def test_a_real_ct_series_sent_by_dcmtk(series, shared_data, tool, pacs, node):
    files = sorted((shared_data / series).rglob("*.dcm"))
    list(send(pacs.peer, files))
    peer = node.peer
    command = [tool("storescu"), "-aec", peer.ae_title, peer.host, str(peer.port), *map(str, files)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)

    _study, returned = come_back(pacs, node, files)

    found = kinds_of(returned)
    assert found.keys() == {"SEG", "PM", "SR", "SC", "PDF"}
    assert found["SEG"] == found["PM"] == found["SR"] == found["PDF"] == 1
    source = dcmread(files[0], stop_before_pixels=True)
    for path in returned:
        result = dcmread(path)
        assert [str(result.get(k, "")) for k in PATIENT] == [
            str(source.get(k, "")) for k in PATIENT
        ]
        assert result.StudyInstanceUID == source.StudyInstanceUID
        assert result.SeriesDescription.startswith("AI ")
    assert_valid(files, returned)


TURN, TILT = np.deg2rad(15), np.deg2rad(12)
OBLIQUE = (
    (np.cos(TURN), np.sin(TURN), 0.0),
    (-np.sin(TURN) * np.cos(TILT), np.cos(TURN) * np.cos(TILT), np.sin(TILT)),
)
PHANTOMS = {"axial": {}, "reversed": {"reverse": True}, "oblique": {"directions": OBLIQUE}}


@pytest.mark.parametrize("geometry", PHANTOMS)
def test_a_planted_lesion_is_where_it_was_planted(geometry, pacs, node, tmp_path):
    truth = phantom(30_500, slices=20)
    instances = make_study(truth, **PHANTOMS[geometry])
    files = save_study(instances, tmp_path)
    shuffled = list(np.random.default_rng(1).permutation(files))
    node.send(shuffled)
    list(send(pacs.peer, files))

    _, returned = come_back(pacs, node, files)

    assert set(kinds_of(returned)) == {"SEG", "PM", "SR", "SC", "PDF"}
    assert_valid(files, returned)
    assert dice(truth.lesion, lesion_mask(returned, instances)) > 0.8


def lesion_mask(returned, instances):
    """The lesion of the SEG, put back on the phantom's grid by patient coordinates alone."""
    (path,) = [p for p in returned if dcmread(p).SOPClassUID.name == "Segmentation Storage"]
    seg = hd.seg.segread(path)
    numbers = [
        n for n in seg.segment_numbers if "Lesion" in seg.get_segment_description(n).SegmentLabel
    ]
    volume = seg.get_volume(segment_numbers=numbers, combine_segments=True, relabel=True)
    rows, columns = instances[0].Rows, instances[0].Columns
    mask = np.zeros((len(instances), rows, columns), bool)
    at = np.argwhere(volume.array > 0)
    xyz = at @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    for k, data in enumerate(instances):
        cosines = np.array(data.ImageOrientationPatient, float).reshape(2, 3)
        offset = xyz - np.array(data.ImagePositionPatient, float)
        near = np.abs(offset @ np.cross(*cosines)) < 0.1
        columns_rows = offset[near] @ cosines.T / np.array(data.PixelSpacing, float)[::-1]
        c, r = np.rint(columns_rows).astype(int).T
        mask[k, r, c] = True
    return mask


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_the_page_shows_the_study_and_its_report(node, pacs, tmp_path):
    files = save_study(make_study(phantom(30_501, slices=12, size=128)), tmp_path)
    node.send(files)
    study, _ = come_back(pacs, node, files)
    page = httpx.get(f"{node.page}/studies/{study}").raise_for_status().text
    assert "Phantom" in page
    (job,) = node.ledger.pages.study(study).jobs
    report = httpx.get(f"{node.page}/jobs/{job['id']}/report").raise_for_status().text
    assert "not for diagnostic use" in report
    metrics = httpx.get(f"{node.page}/metrics").raise_for_status().text
    assert "PHANTOM" not in metrics


def test_results_that_come_back_to_us_open_no_job(node, pacs, tmp_path):
    files = save_study(make_study(phantom(30_502, slices=12, size=128)), tmp_path)
    node.send(files)
    study, returned = come_back(pacs, node, files)
    node.send(returned)
    page = node.wait(study)
    assert len(page.jobs) == 1
    assert page.study["state"] == "ROUTED"


@pytest.mark.skipif(not shutil.which("pgrep"), reason="pgrep (procps) is not installed")
def test_no_process_is_left_behind(tool, tmp_path):
    tool("redis-server")
    with running_node(tmp_path / "node", None) as node:
        group = subprocess.run(
            ["pgrep", "-P", str(node.process.pid)], capture_output=True, text=True, check=True
        )
        children = [int(pid) for pid in group.stdout.split()]
        assert len(children) >= 6
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
