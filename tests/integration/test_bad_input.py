"""The content part of the bad-input catalogue: what can be stored is acknowledged, and ends in a
state with a reason that the log and the page show."""

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pydicom
import pytest
from clinic import Clinic
from log_lines import log_lines
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_fragments
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from ward import Visitor, Ward
from world import QUIET_S

from dicom_node.catalog import BundleFolder, Catalog
from dicom_node.domain.errors import OutOfSpace
from dicom_node.domain.job import MAX_ATTEMPTS
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import file_bytes, make_study, save_study
from workers import tasks
from workers.reader import ImageReader, Room

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]

PIXEL_DATA = b"\xe0\x7f\x10\x00OW"
DYING = """
import os
from dicom_node.sandbox import serve
from workers import image_reader

def answer(request):
    if request["ask"] != "header":
        os.kill(os.getpid(), 11)
    return image_reader.answer(image_reader.Frames(), request)

serve(answer)
"""


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    made = Clinic(tmp_path)
    yield made
    made.close()


@pytest.fixture
def study() -> list[Dataset]:
    return make_study(phantom(1, slices=5, size=32, lesions=0))


def ends(clinic: Clinic, study: list[Any], files: list[Any] | None = None) -> str:
    """Send, close, analyse; the state and the reason of the study's only job, at its first try.

    The log says so in one line, and an SR says it in the PACS.
    """
    with log_lines() as lines:
        assert {outcome.status for outcome in clinic.send(files or study)} == {0}
        clinic.answer()
    (job,) = clinic.page(study).jobs
    said = [line for line in lines if line["log_level"] == "warning"]
    assert [(x["event"], x["reason"]) for x in said] == [("job.quarantine", job["reason"])]
    assert "Phantom" not in str(lines)
    assert str(study[0].PatientName) not in str(lines)
    assert (job["attempt"], clinic.ledger.jobs.waiting()) == (1, [])
    assert job["reason"] in answered(clinic, study, job["id"])
    return f"{job['state']} {job['reason']}"


def answered(clinic: Clinic, study: list[Any], job_id: str) -> str:
    """The SR that tells of a job without a result."""
    tasks.analyse(clinic.worker, job_id)
    (row,) = (r for r in clinic.page(study).results if r["kind"] == "STRUCTURED_REPORT")
    return pydicom.dcmread(clinic.world.store.path(row["sha256"])).to_json()


def compressed(data: Dataset) -> Dataset:
    data.compress(RLELossless, generate_instance_uid=False)
    return data


class TestPixels:
    def test_46_more_pixels_than_anyone_can_hold(self, clinic, study):
        for data in study:
            data.Rows = data.Columns = 65535
            data.NumberOfFrames = 1000
        assert ends(clinic, study) == "QUARANTINED PIXEL_LIMIT"

    def test_46_headers_that_fill_the_memory(self, clinic, study, monkeypatch):
        """Each image is within the limits of the door; the study after it is answered."""
        monkeypatch.setattr("workers.volume.Room", partial(Room, 128 << 20))
        flood = b"".join(pack("<HH2sHH", 0x3000, n, b"US", 2, n) for n in range(60_000))
        raws = [file_bytes(each).replace(PIXEL_DATA, flood + PIXEL_DATA) for each in study]
        assert ends(clinic, study, raws) == "QUARANTINED HEADER_LIMIT"
        other = make_study(phantom(2, slices=5, size=32, lesions=0))
        assert noted(clinic, other) == set()

    @pytest.mark.parametrize("extra", [-2, 2, 2048], ids=["short", "long", "a frame more"])
    def test_47_another_length_than_the_header_says(self, clinic, study, extra):
        raw = study[2].PixelData
        study[2].PixelData = raw[:extra] if extra < 0 else raw + bytes(extra)
        assert ends(clinic, study) == "QUARANTINED PIXEL_LENGTH"

    def test_48_another_number_of_fragments_than_of_frames(self, clinic, study):
        frame = generate_fragments(compressed(study[2]).PixelData, endianness="<")
        parts = list(frame)[1:] * 2
        study[2].PixelData = encapsulate(parts, has_bot=True)
        assert ends(clinic, study) == "QUARANTINED FRAME_COUNT"

    @pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
    @pytest.mark.parametrize("stream", [b"\x05" * 700, b"\xff\x4f\xff\x51" + b"\xff" * 700])
    def test_49_a_corrupt_codestream(self, clinic, study, syntax, stream):
        compressed(study[2]).PixelData = encapsulate([stream])
        study[2].file_meta.TransferSyntaxUID = syntax
        assert ends(clinic, study) == "QUARANTINED DECODER"

    def test_49_a_codestream_that_kills_its_decoder(self, clinic, study, tmp_path, monkeypatch):
        (tmp_path / "dying.py").write_text(DYING)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
        dying = ImageReader("dying")
        monkeypatch.setattr("workers.volume.READER", dying)
        compressed(study[2])
        assert ends(clinic, study) == "QUARANTINED DECODER"
        dying.close()

    @pytest.mark.parametrize(
        ("keyword", "value"), [("HighBit", 14), ("BitsStored", 17), ("SamplesPerPixel", 3)]
    )
    def test_50_bits_that_contradict_each_other(self, clinic, study, keyword, value):
        setattr(study[2], keyword, value)
        assert ends(clinic, study) == "QUARANTINED PIXEL_ATTR"

    @pytest.mark.parametrize("photometric", ["RGB", "PALETTE COLOR", "YBR_FULL"])
    def test_66_colour(self, clinic, study, photometric):
        study[2].PhotometricInterpretation = photometric
        assert ends(clinic, study) == "QUARANTINED UNSUPPORTED"


class TestSyntaxes:
    """However the pixels came, they are the same study."""

    @pytest.mark.parametrize(
        "syntax",
        [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
        ids=lambda uid: uid.keyword,
    )
    def test_uncompressed(self, clinic, study, syntax):
        raws = []
        for data in study:
            data.file_meta.TransferSyntaxUID = syntax
            raws.append(
                written(data, implicit=syntax.is_implicit_VR, little=syntax.is_little_endian)
            )
        assert noted(clinic, study, raws) == set()

    @pytest.mark.parametrize(
        "syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.keyword
    )
    def test_compressed(self, clinic, study, syntax):
        for data in study:
            data.compress(syntax, generate_instance_uid=False)
        assert noted(clinic, study) == set()

    @pytest.mark.dcmtk
    def test_compressed_by_another_s_encoder(self, clinic, study, tool, tmp_path):
        raws = []
        for path in save_study(study, tmp_path):
            subprocess.run([tool("dcmcjpeg"), "+e1", path, path], check=True, capture_output=True)
            raws.append(path.read_bytes())
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == JPEGLosslessSV1
        assert noted(clinic, study, raws) == set()


def written(data: Dataset, *, implicit: bool, little: bool) -> bytes:
    if not little:
        data["PixelData"].value = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
    buffer = BytesIO()
    data.save_as(buffer, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return buffer.getvalue()


class TestGeometry:
    @pytest.mark.parametrize(
        "keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
    )
    def test_51_no_place_in_the_patient(self, clinic, study, keyword):
        delattr(study[2], keyword)
        assert ends(clinic, study) == "QUARANTINED GEOMETRY"

    def test_52_a_gap(self, clinic, study):
        del study[2]
        assert ends(clinic, study) == "QUARANTINED SLICE_SET"

    def test_52_a_position_twice(self, clinic, study):
        study[1].ImagePositionPatient = study[2].ImagePositionPatient
        assert ends(clinic, study) == "QUARANTINED SLICE_SET"

    def test_52_two_orientations(self, clinic, study):
        study[0].ImageOrientationPatient = [0.995, 0.0995, 0, -0.0995, 0.995, 0]
        assert ends(clinic, study) == "QUARANTINED SLICE_SET"


class TestValues:
    def test_60_a_number_of_forty_thousand_digits(self, clinic, study):
        study[2].NumberOfFrames = 1
        raw, tag, digits = file_bytes(study[2]), b"\x28\x00\x08\x00IS", b"9" * 40_000
        at = raw.index(tag) + len(tag)
        raw = raw[:at] + len(digits).to_bytes(2, "little") + digits + raw[at + 4 :]
        assert ends(clinic, study, [*study[:2], raw, *study[3:]]) == "QUARANTINED VALUE"

    @pytest.mark.parametrize(
        ("keyword", "value"),
        [
            ("RescaleSlope", "0"),
            ("RescaleSlope", "nan"),
            ("RescaleIntercept", "inf"),
            ("ImagePositionPatient", ["nan", "0", "0"]),
            ("PixelSpacing", ["inf", "1"]),
        ],
    )
    def test_61_numbers_that_are_none(self, clinic, study, keyword, value):
        setattr(study[2], keyword, value)
        assert ends(clinic, study) in ("QUARANTINED VALUE", "QUARANTINED SLICE_SET")
        assert clinic.page(study).jobs[0]["reason"] == "VALUE"


def noted(clinic: Clinic, study: list[Any], files: list[Any] | None = None) -> set[str]:
    """Send and analyse a study whose oddity harms nothing; the notes in the log."""
    with log_lines() as lines:
        assert {outcome.status for outcome in clinic.send(files or study)} == {0}
        clinic.answer()
    (job,) = clinic.page(study).jobs
    assert (job["state"], job["reason"]) == ("ANALYSED", "")
    return {line["reason"] for line in lines if line["event"] == "study.note"}


def shown(clinic: Clinic, study: list[Any]) -> tuple[str, str]:
    """The study's page and its report."""
    visitor = Visitor(Ward(clinic.ledger, clinic.world.store))
    page = visitor.get(f"/studies/{study[0].StudyInstanceUID}")
    report = visitor.get(f"/jobs/{clinic.page(study).jobs[0]['id']}/report")
    assert (page.status_code, report.status_code) == (200, 200)
    return page.text, report.text


class TestText:
    """Hostile text is stored as it came, and never shown so."""

    def test_nothing_is_noted_of_a_study_that_is_well(self, clinic, study):
        assert noted(clinic, study) == set()

    @pytest.mark.parametrize(
        ("charset", "name"),
        [("ISO_IR 999", b"D\xf6e^Jane "), ("ISO_IR 192", b"D\xf6e^Jane ")],
        ids=["unknown", "bad UTF-8"],
    )
    def test_56_a_character_set_that_is_none(self, clinic, study, charset, name):
        raws = []
        for data in study:
            data.SpecificCharacterSet, data.PatientName = charset, "XXXX^Jane "
            raws.append(file_bytes(data).replace(b"XXXX^Jane ", name.ljust(10)))
        assert "CHARSET" in noted(clinic, study, raws)
        assert "Jane" in shown(clinic, study)[0]

    @pytest.mark.parametrize("name", ["<script>alert(1)</script>", "{{7*7}}", '"><img src=x>'])
    def test_57_markup(self, clinic, study, name):
        for data in study:
            data.PatientName, data.SeriesDescription = name, name
        assert noted(clinic, study) == {"MARKUP"}
        for text in shown(clinic, study):
            assert "<script>alert" not in text
            assert "<img src=x" not in text
            assert "49" not in text or "{{7*7}}" not in name or "{{7*7}}" in text

    @pytest.mark.parametrize("nasty", ["\x1b[31m", "\u202e", "\x07", "\u2066"])
    def test_58_control_characters(self, clinic, study, nasty):
        for data in study:
            data.SpecificCharacterSet = "ISO_IR 192"
            data.PatientName = f"Doe^{nasty}Jane"
        assert "CONTROL_CHARS" in noted(clinic, study)
        for text in shown(clinic, study):
            assert nasty not in text
            assert "Jane" in text

    def test_59_a_name_of_two_megabytes(self, clinic, study):
        for data in study[:3]:
            data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            data.PatientName = data.SeriesDescription = "Long" * 500_000
        assert noted(clinic, study[:3]) == {"TEXT_LONG"}
        page, report = shown(clinic, study)
        assert len(page) < 60_000
        assert "Long" * 100 not in report

    @pytest.mark.parametrize(
        "day", ["20261399", f"{date.today() + timedelta(days=400):%Y%m%d}", "00000000"]
    )
    def test_62_a_day_that_does_not_exist_or_has_not_come(self, clinic, study, day):
        for data in study:
            data.StudyDate = day
        assert noted(clinic, study) == {"CLOCK_SKEW"}


class TestStudies:
    def test_39_one_uid_with_two_contents(self, clinic, study):
        changed = copy.deepcopy(study[2])
        changed.SeriesDescription = "changed"
        with log_lines() as lines:
            clinic.send(study)
            assert [(o.status, o.code) for o in clinic.send([changed])] == [(0, "UID_CONFLICT")]
            clinic.answer()
        page = clinic.page(study)
        assert (page.study["state"], page.study["reason"]) == ("QUARANTINED", "UID_CONFLICT")
        assert len(clinic.ledger.studies.instances(study[0].StudyInstanceUID)) == len(study) + 1
        told = [(x["event"], x.get("reason")) for x in lines]
        assert ("store.note", "UID_CONFLICT") in told
        assert ("study.quarantine", "UID_CONFLICT") in told
        (job,) = page.jobs
        assert "UID_CONFLICT" in answered(clinic, study, job["id"])

    def test_53_a_part_of_a_study_at_its_deadline(self, clinic, study):
        """The rest of it: tests/unit/test_completeness.py."""
        world = clinic.world
        completeness = world.settings.completeness.model_copy(
            update={"at_deadline": "incomplete", "quiet_s": 900.0, "deadline_s": 1000.0}
        )
        world.settings = world.settings.model_copy(update={"completeness": completeness})
        world.restart()
        with log_lines() as lines:
            for data in study:
                clinic.send([data])
                world.pass_time(250)
        assert clinic.page(study).study["reason"] == "INCOMPLETE"
        assert "INCOMPLETE" in {x["reason"] for x in lines if x["event"] == "study.quarantine"}
        assert "INCOMPLETE" in answered(clinic, study, clinic.page(study).jobs[0]["id"])

    def test_54_a_slice_that_comes_late(self, clinic, study):
        assert noted(clinic, study[:4]) == set()
        with log_lines() as lines:
            clinic.send(study[4:])
            clinic.answer()
        page = clinic.page(study)
        assert page.study["generation"] == 2
        assert [job["state"] for job in page.jobs] == ["ANALYSED"] * 2
        assert "LATE" in {line.get("reason") for line in lines if line["event"] == "study.note"}

    def test_55_two_patients(self, clinic, study):
        study[2].PatientID = "SOMEONE-ELSE"
        with log_lines() as lines:
            clinic.send(study)
            clinic.answer()
        row = clinic.page(study).study
        assert (row["state"], row["reason"]) == ("QUARANTINED", "PATIENT_MIX")
        told = [line for line in lines if line["event"] == "study.quarantine"]
        assert [line["reason"] for line in told] == ["PATIENT_MIX"]
        assert "SOMEONE" not in str(lines)

    def test_64_our_own_results(self, clinic, study):
        noted(clinic, study)
        results = clinic.page(study).results
        files = [clinic.world.store.path(row["sha256"]).read_bytes() for row in results]
        assert len(files) >= 2
        with log_lines() as lines:
            outcomes = clinic.send(files)
            clinic.answer()
        assert {(o.status, o.code) for o in outcomes} == {(0, "OWN_OUTPUT")}
        assert {line["reason"] for line in lines} == {"OWN_OUTPUT"}
        assert len(clinic.page(study).jobs) == 1
        assert clinic.ledger.studies.receiving() == []

    @pytest.mark.parametrize(
        ("keyword", "modality"),
        [
            ("BasicTextSRStorage", "SR"),
            ("EncapsulatedPDFStorage", "DOC"),
            ("GrayscaleSoftcopyPresentationStateStorage", "PR"),
        ],
    )
    def test_65_what_is_no_image(self, clinic, study, keyword, modality):
        data = study[0]
        for name in ("PixelData", "Rows", "Columns", "ImagePositionPatient", "PixelSpacing"):
            delattr(data, name)
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = getattr(pydicom.uid, keyword)
        data.Modality = modality
        with log_lines() as lines:
            assert clinic.send([data])[0].status == 0
            clinic.answer()
        page = clinic.page(study)
        assert page.study["state"] == "NO_MODEL"
        assert {job["state"] for job in page.jobs} <= {"DECLINED"}
        assert {x["reason"] for x in lines if x["event"] == "study.note"} == {"NOT_IMAGE"}

    def test_66_a_modality_that_no_model_reads(self, clinic, study):
        for data in study:
            data.Modality = "US"
        with log_lines() as lines:
            clinic.send(study)
            clinic.answer()
        page = clinic.page(study)
        assert page.study["state"] == "NO_MODEL"
        assert {x["reason"] for x in lines if x["event"] == "study.note"} == {"UNSUPPORTED"}
        reasons = {choice["reason"] for choice in page.selection}
        assert reasons == {"modality US, not CT", "modality US, not MR"}
        (job,) = page.jobs
        assert (job["state"], job["reason"]) == ("DECLINED", "NO_MODEL")
        assert "No model of this node reads" in answered(clinic, study, job["id"])

    def test_images_without_a_modality_get_their_answer_too(self, clinic, study):
        for data in study:
            del data.Modality
        clinic.send(study)
        clinic.answer()
        (job,) = clinic.page(study).jobs
        assert (job["state"], job["reason"]) == ("DECLINED", "NO_MODEL")
        tasks.analyse(clinic.worker, job["id"])
        assert [row["kind"] for row in clinic.page(study).results] == [
            "ENCAPSULATED_PDF",
            "STRUCTURED_REPORT",
            "FLAT_REPORT",
        ]


def full(_: Any) -> None:
    raise OutOfSpace("the store is full")


class TestWork:
    @pytest.mark.parametrize("error", [MemoryError, RuntimeError])
    def test_68_three_crashes_quarantine_one_job_and_stop_no_other(
        self, clinic, study, monkeypatch, error
    ):
        def crash(_: Any) -> None:
            raise error

        monkeypatch.setattr("workers.tasks.TRANSIENT_PAUSE_S", 0)
        clinic.send(study)
        with log_lines() as lines, monkeypatch.context() as broken:
            broken.setattr(clinic.worker, "run", crash)
            clinic.answer()
            for _ in range(4):
                clinic.world.pass_time(10)
                clinic.answer()
        (job,) = clinic.page(study).jobs
        assert (job["state"], job["attempt"]) == ("QUARANTINED", 3)
        poison = [line for line in lines if line["event"] == "job.quarantine"]
        assert [line["reason"] for line in poison] == ["POISON"]
        other = make_study(phantom(2, slices=5, size=32, lesions=0))
        clinic.send(other)
        clinic.answer()
        assert clinic.page(other).jobs[0]["state"] == "ANALYSED"

    def test_68_three_deaths_quarantine_it_too(self, clinic, study):
        clinic.send(study)
        clinic.world.sweep.once()
        clinic.world.pass_time(QUIET_S + 10)
        with log_lines() as lines:
            for _ in range(3):
                (job_id,) = clinic.ledger.jobs.waiting()
                clinic.ledger.jobs.claim(job_id)
                clinic.world.pass_time(100)
        (job,) = clinic.page(study).jobs
        assert (job["state"], job["reason"]) == ("QUARANTINED", "LEASE_LOST")
        assert [x["reason"] for x in lines if x["event"] == "job.quarantine"] == ["POISON"]

    def test_a_full_store_is_waited_for(self, clinic, study, monkeypatch):
        clinic.send(study)
        monkeypatch.setattr(clinic.world.store, "keep", full)
        with log_lines() as lines:
            clinic.answer()
        (job,) = clinic.page(study).jobs
        assert (job["state"], job["reason"]) == ("READY", "NO_SPACE")
        assert job["next_at"] > job["updated_at"] + 20
        assert [x["reason"] for x in lines if x["event"] == "job.stopped"] == ["NO_SPACE"]

    def test_a_full_store_is_no_try_of_the_study(self, clinic, study, monkeypatch):
        monkeypatch.setattr("workers.tasks.TRANSIENT_PAUSE_S", 0)
        clinic.send(study)
        with monkeypatch.context() as broken:
            broken.setattr(clinic.worker, "run", full)
            for _ in range(MAX_ATTEMPTS + 1):
                clinic.answer()
        (job,) = clinic.page(study).jobs
        assert (job["state"], job["reason"], job["attempt"]) == ("READY", "NO_SPACE", 0)
        clinic.answer()
        (job,) = clinic.page(study).jobs
        assert (job["state"], job["attempt"]) == ("ANALYSED", 1)

    def test_a_model_that_is_gone_is_no_fault_of_the_study(self, clinic, study):
        clinic.worker.catalog = Catalog(())
        clinic.send(study)
        clinic.answer()
        (job,) = clinic.page(study).jobs
        assert (job["state"], job["reason"]) == ("FAILED", "BUNDLE_GONE")
        assert "BUNDLE_GONE" in answered(clinic, study, job["id"])

    @pytest.mark.tensorflow
    @pytest.mark.parametrize(("bias", "numbers"), [("nan", 1), ("0", 2)], ids=["NaN", "shape"])
    def test_67_an_answer_that_means_nothing(self, clinic, study, monkeypatch, bias, numbers):
        keras = pytest.importorskip("keras")
        from workers.keras_model import KerasModel

        def load(bundle: BundleFolder) -> KerasModel:
            image = keras.Input(bundle.manifest.input.shape)
            features = keras.layers.Conv2D(2, 3, padding="same", name="features")(image)
            pooled = keras.layers.GlobalAveragePooling2D()(features)
            start = keras.initializers.Constant(float(bias))
            head = keras.layers.Dense(numbers, name="lesion_logit", bias_initializer=start)
            masks = keras.layers.Conv2D(2, 1, name="mask_logits")
            return KerasModel(bundle.manifest, keras.Model(image, [head(pooled), masks(image)]))

        monkeypatch.setattr("workers.bootstrap.load_model", load)
        clinic.worker._models.clear()
        assert ends(clinic, study) == "QUARANTINED MODEL_OUTPUT"
