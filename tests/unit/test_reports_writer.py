"""All objects of a case: valid, of one patient and study, linked, and the same every time."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import analyses
import pytest
import validators
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.domain.analysis import Analysis, ResultInstance
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.findings import Presence
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import save_study
from reports.case import Case
from reports.identity import series_description
from reports.part10 import IMPLEMENTATION_CLASS_UID, dataset_bytes
from reports.segmentation import SegmentationWriter
from reports.settings import ReportSettings
from reports.subject import Maker
from reports.writer import WRITERS, write_results

Study = tuple[list[Dataset], Analysis]
TILT = math.radians(15)
OBLIQUE = ((1.0, 0.0, 0.0), (0.0, math.cos(TILT), math.sin(TILT)))
JAPANESE = {
    "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
    "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "InstitutionName": "東京病院",
}


def study(lesions: int = 1, **options: object) -> Study:
    source = phantom(7, lesions=lesions, slices=24, size=96)
    instances = analyses.study(source, **options)
    return instances, analyses.analysis(source, instances)


def shuffled() -> Study:
    source = phantom(7, slices=24, size=96)
    instances = analyses.study(source)
    random.Random(3).shuffle(instances)
    return instances, analyses.analysis(source, instances)


def flat() -> Study:
    source = phantom(7, slices=24, size=96)
    instances = analyses.study(source)
    return instances, analyses.analysis(source, instances, localised=False)


def undetermined() -> Study:
    instances, given = study()
    changed = analyses.with_finding(given, presence=Presence.UNDETERMINED, segment=None)
    return instances, replace(changed, segments=())


def bare() -> Study:
    """A source without most type 2 attributes, from a scanner without a name."""
    instances, _ = study()
    for instance in instances:
        del instance.Laterality
        instance.PatientBirthDate = instance.StudyID = instance.Manufacturer = None
        instance.BodyPartExamined = "CHEST"
        instance.IssuerOfPatientID = "Hospital of the sources"
    return instances, analyses.analysis(phantom(7, lesions=1, slices=24, size=96), instances)


def paired() -> Study:
    """A part that has a side, and nobody says which."""
    instances, _ = study()
    for instance in instances:
        del instance.Laterality
        instance.BodyPartExamined = "BREAST"
    return instances, analyses.analysis(phantom(7, slices=24, size=96), instances)


CASES: dict[str, Callable[[], Study]] = {
    "one lesion": study,
    "two lesions": lambda: study(2),
    "absent": lambda: study(0),
    "no localised evidence": flat,
    "undetermined": undetermined,
    "reversed": lambda: study(reverse=True),
    "oblique": lambda: study(directions=OBLIQUE),
    "shuffled": shuffled,
    "japanese": lambda: study(attributes=JAPANESE),
    "bare header": bare,
    "paired part": paired,
}


def encoded(given: Analysis) -> list[bytes]:
    return [dataset_bytes(result.dataset) for result in write_results(Case(given))]


def read(given: Analysis) -> list[Dataset]:
    return [dcmread(BytesIO(data)) for data in encoded(given)]


@pytest.mark.validators
@pytest.mark.parametrize("name", CASES)
def test_no_validator_finds_an_error(name: str, tmp_path: Path, tool: validators.Tool) -> None:
    tool("dciodvfy"), tool("dcentvfy")
    instances, given = CASES[name]()
    sources = save_study(instances, tmp_path / "sources")
    results = save(encoded(given), tmp_path / "results")
    assert {path.name: validators.dciodvfy(path) for path in results} == {
        path.name: [] for path in results
    }
    assert validators.dcentvfy([*sources, *results]) == []


def save(objects: Sequence[bytes], folder: Path) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number}.dcm" for number in range(len(objects))]
    for path, data in zip(paths, objects, strict=True):
        path.write_bytes(data)
    return paths


@pytest.mark.validators
def test_the_validators_notice_what_is_wrong(tmp_path: Path, tool: validators.Tool) -> None:
    """A check that cannot fail proves nothing."""
    tool("dciodvfy"), tool("dcentvfy")
    results = [result.dataset for result in write_results(Case(study()[1]))]
    results[0].PatientName = "Someone^Else"
    del results[2].ConversionType
    paths = save([dataset_bytes(dataset) for dataset in results], tmp_path / "results")
    assert any("ConversionType" in error for error in validators.dciodvfy(paths[2]))
    assert any("PatientName" in error for error in validators.dcentvfy(paths))


@pytest.mark.parametrize("name", ["two lesions", "absent", "japanese"])
def test_a_second_run_writes_the_same_bytes(name: str) -> None:
    _, given = CASES[name]()
    assert encoded(given) == encoded(given)


def test_kinds_come_in_the_order_of_sending_and_the_sr_last() -> None:
    results = write_results(Case(study(2)[1]))
    assert [result.kind for result in results] == [
        ResultKind.SEGMENTATION,
        ResultKind.PARAMETRIC_MAP,
        ResultKind.PARAMETRIC_MAP,
        ResultKind.SECONDARY_CAPTURE,
        ResultKind.SECONDARY_CAPTURE,
        ResultKind.ENCAPSULATED_PDF,
        ResultKind.STRUCTURED_REPORT,
        ResultKind.FLAT_REPORT,
    ]
    ranks = [result.kind.rank for result in results]
    assert ranks == sorted(ranks)


def test_other_content_has_other_uids() -> None:
    _, given = study()
    again = replace(given, provenance=replace(given.provenance, generation=2))
    first, second = ({d.SOPInstanceUID for d in read(g)} for g in (given, again))
    assert len(first) == 6
    assert not first & second


def test_patient_and_study_are_those_of_the_source() -> None:
    instances, given = CASES["bare header"]()
    for result in read(given):
        assert result.StudyInstanceUID == instances[0].StudyInstanceUID
        assert result.PatientName == instances[0].PatientName
        assert result.PatientID == instances[0].PatientID
        assert result.IssuerOfPatientID == "Hospital of the sources"
        assert result["PatientBirthDate"].is_empty
        assert result.BodyPartExamined == "CHEST"


def test_a_japanese_name_comes_back_in_utf_8() -> None:
    _, given = CASES["japanese"]()
    for result in read(given):
        assert result.SpecificCharacterSet == "ISO_IR 192"
        assert result.PatientName.ideographic == "山田^太郎"
        assert result.PatientName.phonetic == "やまだ^たろう"
        assert result.PatientName.alphabetic == "Yamada^Tarou"


def test_every_object_says_who_made_it_and_what_it_is_not_for() -> None:
    _, given = study()
    results = read(given)
    assert len({result.SeriesInstanceUID for result in results}) == len(results)
    for result in results:
        assert result.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert result.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
        assert result.SeriesDescription.startswith("AI ")
        assert result.SeriesDescription.endswith("not for diagnostic use")
        assert 9000 < result.SeriesNumber <= 9010
        assert result.ContentQualification == "RESEARCH"
        assert (result.ContentDate, result.ContentTime) == ("20260314", "092653")
        scanner, model = result.ContributingEquipmentSequence
        assert scanner.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Acquisition Equipment"
        assert scanner.Manufacturer == "Phantom Works"
        assert model.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Processing Equipment"
        assert model.SoftwareVersions[0] == "phantom-lesion@1.2.0"
        assert model.DeviceUID.startswith("2.25.")


def test_a_bundle_says_what_it_is_made_for_in_every_object() -> None:
    given = analyses.analysis(phantom(7, slices=3, size=64))
    model = given.manifest.model_copy(update={"content_qualification": "PRODUCT"})
    results = write_results(Case(replace(given, manifest=model)), WRITERS)
    said = {result.kind: result.dataset.ContentQualification for result in results}
    assert said == dict.fromkeys(said, "PRODUCT")
    assert set(ResultKind) - set(said) == {ResultKind.DERIVED_IMAGE, ResultKind.REJECTION_NOTE}


def test_a_long_title_leaves_room_for_the_warning() -> None:
    model = analyses.manifest(title="A very long title of a model that finds everything there is")
    for kind in ResultKind:
        description = series_description(Maker.model(model, "b0"), kind)
        assert len(description) <= 64
        assert description.endswith("not for diagnostic use")


def test_dates_are_told_by_the_clock_of_the_study() -> None:
    _, given = study(attributes={"TimezoneOffsetFromUTC": "+0900"})
    opened = datetime(2026, 3, 14, 20, 0, 0, tzinfo=UTC)
    provenance = replace(given.provenance, opened_at=opened)
    for result in read(replace(given, provenance=provenance)):
        assert (result.ContentDate, result.ContentTime) == ("20260315", "050000")
        assert result.TimezoneOffsetFromUTC == "+0900"


def test_a_site_chooses_its_numbers_and_its_name() -> None:
    settings = ReportSettings(series_number_base=500, institution_name="Klinik am See")
    for result in write_results(Case(study()[1], settings)):
        assert 500 < result.dataset.SeriesNumber <= 510
        assert result.dataset.InstitutionName == "Klinik am See"


def test_a_writer_of_ones_own_sees_what_was_made_before() -> None:
    seen: list[ResultKind] = []

    class Watcher:
        kind = ResultKind.STRUCTURED_REPORT

        def write(self, case: Case, earlier: Sequence[ResultInstance]) -> list[ResultInstance]:
            seen.extend(result.kind for result in earlier)
            return []

    assert len(write_results(Case(study()[1]), (SegmentationWriter(), Watcher()))) == 1
    assert seen == [ResultKind.SEGMENTATION]


@pytest.mark.filterwarnings("ignore:The value length:UserWarning")
def test_headers_of_the_source_stay_as_they_were() -> None:
    instances, given = study(attributes={"PatientID": "A" * 80})
    before = [dataset.to_json() for dataset in given.images.datasets]
    encoded(given)
    assert [dataset.to_json() for dataset in given.images.datasets] == before
    assert len(instances[0].PatientID) == 80
