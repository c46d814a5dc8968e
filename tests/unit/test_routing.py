"""A model gets the series that fit it, and the trace says why each was taken or not."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from dicom_node.catalog import BundleFolder
from dicom_node.domain.manifest import ModelManifest, SeriesSelection, TagRule
from dicom_node.domain.study import Instance, Series, Study
from dicom_node.headers import DirectReader, read_study
from dicom_node.routing import NOT_THE_LARGEST, reason_against, route
from dicom_node.store import InstanceStore
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import file_bytes, make_study

ATTRIBUTES = {
    "Modality": "CT",
    "SOPClassUID": "CTImageStorage",
    "Orientation": "AXIAL",
    "Frames": 40,
    "Rows": 512,
    "SeriesDescription": "Thorax 2.0 soft",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "SliceThickness": 2,
}


def series(uid="1.1", unreadable=0, **attributes):
    one = Instance("1", uid, f"{uid}.1", "1.2", "1.3", "a" * 64, 10)
    return Series(uid, (one,), {**ATTRIBUTES, **attributes}, unreadable)


def selection(**values):
    return SeriesSelection(**{"modality": ("CT",), **values})


@pytest.mark.parametrize(
    ("wanted", "has", "reason"),
    [
        ({}, {}, None),
        ({}, {"Modality": "MR"}, "modality MR, not CT"),
        ({}, {"Modality": None}, "modality missing"),
        ({}, {"Rows": None}, "holds no images"),
        ({"orientation": ("AXIAL",)}, {"Orientation": "OBLIQUE"}, "orientation OBLIQUE, not AXIAL"),
        ({"orientation": ("AXIAL",)}, {"Orientation": "MIXED"}, "orientation MIXED"),
        ({"min_images": 41}, {}, "40 images, fewer than 41"),
        ({"max_images": 39}, {}, "40 images, more than 39"),
        ({"sop_classes": ("MRImageStorage",)}, {}, "SOP class CTImageStorage"),
    ],
)
def test_each_condition_names_itself(wanted, has, reason):
    found = reason_against(series(**has), selection(**wanted))
    assert found == reason or (reason and reason in found)


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ({"keyword": "ImageType", "contains": "axial"}, True),
        ({"keyword": "ImageType", "contains": "axia"}, False),
        ({"keyword": "ImageType", "contains": "LOCALIZER", "negate": True}, True),
        ({"keyword": "SeriesDescription", "contains": "soft"}, True),
        ({"keyword": "SeriesDescription", "matches": r"^thorax \d"}, True),
        ({"keyword": "SeriesDescription", "matches": "lung"}, False),
        ({"keyword": "SliceThickness", "at_most": 3}, True),
        ({"keyword": "SliceThickness", "at_least": 2.5}, False),
        ({"keyword": "SliceThickness", "equals": 2.0}, True),
        ({"keyword": "BodyPartExamined", "equals": "CHEST"}, False),
        ({"keyword": "BodyPartExamined", "equals": "CHEST", "negate": True}, True),
    ],
)
def test_rules_on_attributes(rule, fits):
    reason = reason_against(series(), selection(rules=(TagRule(**rule),)))
    assert (reason is None) is fits
    assert fits or rule["keyword"] in reason


@pytest.mark.parametrize(
    ("rule", "part"),
    [
        ({"keyword": "PatientNmae", "equals": "x"}, "no DICOM keyword"),
        ({"keyword": "Rows"}, "exactly one of"),
        ({"keyword": "Rows", "at_least": 1, "at_most": 2}, "exactly one of"),
        ({"keyword": "Modality", "matches": "("}, "not a regular expression"),
    ],
)
def test_a_wrong_rule_is_explained(rule, part):
    with pytest.raises(ValidationError, match=part):
        TagRule(**rule)


def test_a_series_with_unreadable_headers_is_not_taken():
    assert reason_against(series(unreadable=1), selection()) == "its headers cannot be read"


@pytest.fixture
def bundle():
    def make(**values):
        manifest = ModelManifest.model_construct(
            name="model", version="1.0.0", selection=selection(**values)
        )
        return BundleFolder(Path("model"), manifest, "f" * 64)

    return make


def test_of_several_the_largest_is_taken_and_the_others_know_why(bundle):
    study = Study(
        "1", (series("1.1", Frames=20), series("1.2", Frames=30), series("1.3", Modality="MR"))
    )
    (proposal,) = route(study, [bundle()])
    assert [s.series_instance_uid for s in proposal.inputs] == ["1.2"]
    assert [(c.taken, c.reason) for c in proposal.selection] == [
        (False, NOT_THE_LARGEST),
        (True, "fits"),
        (False, "modality MR, not CT"),
    ]


def test_a_study_that_fits_nothing_has_a_trace(bundle):
    (proposal,) = route(Study("1", (series(Modality="MR"),)), [bundle()])
    assert proposal.inputs == ()
    assert proposal.selection[0].reason == "modality MR, not CT"


class TestHeaders:
    """What routing sees is read from the stored files."""

    @pytest.fixture
    def read(self, tmp_path):
        store = InstanceStore(tmp_path / "store")

        def keep(instances, change=lambda _n, _d: None):
            kept = []
            for number, data in enumerate(instances):
                change(number, data)
                file = store.keep([file_bytes(data)])
                kept.append(
                    Instance(
                        data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID,
                        data.SOPClassUID, "1.2.840.10008.1.2.1", file.sha256, file.size_bytes,
                    )
                )  # fmt: skip
            return read_study(kept[0].study_instance_uid, kept, store, DirectReader(), {"KVP"})

        return keep

    def test_attributes_orientation_and_size(self, read):
        study = read(make_study(phantom(1, slices=3, size=32)))
        (one,) = study.series
        assert one.attributes["Modality"] == "CT"
        assert one.attributes["Orientation"] == "AXIAL"
        assert one.attributes["Frames"] == 3
        assert one.attributes["KVP"] == 120
        assert study.attributes["PatientID"] == "PHANTOM-1"
        assert study.attributes["ModalitiesInStudy"] == ["CT"]

    @pytest.mark.parametrize(
        ("directions", "plane"),
        [
            (((1, 0, 0), (0, 0, -1)), "CORONAL"),
            (((0, 1, 0), (0, 0, -1)), "SAGITTAL"),
            (((1, 0, 0), (0, 0.966, 0.259)), "AXIAL"),
            (((1, 0, 0), (0, 0.7071, 0.7071)), "OBLIQUE"),
        ],
    )
    def test_planes_are_named(self, read, directions, plane):
        study = read(make_study(phantom(1, slices=2, size=32), directions=directions))
        assert study.series[0].attributes["Orientation"] == plane

    def test_two_planes_in_one_series_are_mixed(self, read):
        def turn(number, data):
            if number:
                data.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

        study = read(make_study(phantom(1, slices=2, size=32)), turn)
        assert study.series[0].attributes["Orientation"] == "MIXED"

    def test_two_patients_are_counted(self, read):
        def rename(number, data):
            data.PatientID = f"P{number}"

        assert read(make_study(phantom(1, slices=2, size=32)), rename).attributes["Patients"] == 2

    def test_what_cannot_be_read_is_counted(self, tmp_path):
        store = InstanceStore(tmp_path / "store")
        kept = store.keep([b"no DICOM"])
        instance = Instance("1", "1.1", "1.1.1", "1.2", "1.3", kept.sha256, 8)
        study = read_study("1", [instance], store, DirectReader())
        assert study.series[0].unreadable == 1
