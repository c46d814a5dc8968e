"""What a model makes of a radiograph is for what its source was for, and is valid as such."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import analyses
import numpy as np
import pytest
import validators
from pydicom import uid as uids
from pydicom.dataset import Dataset
from sources import radiograph

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.prediction import DerivedImages
from dicom_node.testing.phantom import phantom
from reports.case import Case
from reports.derived_images import DerivedImagesWriter
from reports.part10 import dataset_bytes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
OUTPUT = {
    "kind": "image",
    "layer": "denoised",
    "derivation": {"value": "113087", "scheme": "DCM", "meaning": "Smoothing"},
    "description": "AI denoised",
}
CLASSES = {
    ("DX", "FOR PRESENTATION"): uids.DigitalXRayImageStorageForPresentation,
    ("DX", "FOR PROCESSING"): uids.DigitalXRayImageStorageForProcessing,
    ("MG", "FOR PRESENTATION"): uids.DigitalMammographyXRayImageStorageForPresentation,
    ("MG", "FOR PROCESSING"): uids.DigitalMammographyXRayImageStorageForProcessing,
}
TABLE = {"LUTDescriptor": [256, 900, 8], "LUTData": list(range(256))}


def item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def code(value: str, scheme: str, meaning: str, **further: Any) -> Dataset:
    said = {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}
    return item(**said, **further)


def headers(modality: str, intent: str) -> dict[str, Any]:
    """What the modules of these images ask for (PS3.3 A.26, A.27, C.8.11)."""
    breast = modality == "MG"
    part = ("76752008", "SCT", "Breast") if breast else ("51185008", "SCT", "Chest")
    view = (
        ("399162004", "SCT", "cranio-caudal")
        if breast
        else ("399348003", "SCT", "antero-posterior")
    )
    organ = {"PositionerType": "MAMMOGRAPHIC", "OrganExposed": "BREAST",
             "BreastImplantPresent": "NO", "PartialView": "NO"}  # fmt: skip
    return {
        "PresentationIntentType": intent,
        "ImageType": ["ORIGINAL" if intent.endswith("PROCESSING") else "DERIVED", "PRIMARY"],
        "BodyPartExamined": "BREAST" if breast else "CHEST",
        "ImageLaterality": "R" if breast else "U",
        "AnatomicRegionSequence": [code(*part)],
        "ViewCodeSequence": [code(*view, ViewModifierCodeSequence=[])],
        "PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": -1,
        "RescaleIntercept": 0, "RescaleSlope": 1, "RescaleType": "US",
        "PresentationLUTShape": "IDENTITY", "LossyImageCompression": "00",
        "BurnedInAnnotation": "NO", "DetectorType": "DIRECT", "AcquisitionContextSequence": [],
        **(organ if breast else {"PositionerType": ""}),
    }  # fmt: skip


def made(modality: str, intent: str, change: float = 0, **attributes: Any) -> Analysis:
    """What a model gives back of each image, at half its size."""
    given = {**headers(modality, intent), **attributes}
    sop_class = CLASSES[modality, intent]
    source = radiograph(phantom(7, slices=5, size=64), sop_class, modality, views=2, **given)
    instances = [deepcopy(each) for each in source.instances]
    pixels = np.stack([each.pixel_array for each in instances]).astype(np.float32)
    base = analyses.analysis(phantom(7, slices=2, size=64))
    frames = tuple(
        replace(frame, sop_class_uid=str(sop_class), sop_instance_uid=str(each.SOPInstanceUID))
        for frame, each in zip(base.images.frames, instances, strict=True)
    )
    images = replace(
        base.images, datasets=tuple(instances), frames=frames, pixels=pixels, affine=None
    )
    derived = DerivedImages(pixels[:, ::2, ::2] + change, (2.0, 2.0), (0.5, 0.5))
    return replace(
        base,
        manifest=analyses.manifest(outputs=[OUTPUT], explanation={"method": "none"}),
        images=images,
        prediction=replace(base.prediction, derived=derived),
        findings=(),
        segments=(),
    )


def written(given: Analysis) -> Dataset:
    first, second = (r.dataset for r in DerivedImagesWriter().write(Case(given), []))
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    return first


@pytest.mark.validators
@pytest.mark.parametrize(("modality", "intent"), CLASSES)
def test_it_is_of_the_class_and_the_intent_of_its_source(
    modality: str, intent: str, tool: Callable[[str], str], tmp_path: Path
) -> None:
    tool("dciodvfy")
    image = written(made(modality, intent))
    assert (image.SOPClassUID, image.PresentationIntentType) == (CLASSES[modality, intent], intent)
    assert image.ImageType[:2] == ["DERIVED", "SECONDARY"]
    path = tmp_path / "image.dcm"
    path.write_bytes(dataset_bytes(image))
    assert "\n".join(validators.dciodvfy(path)) == ""


@pytest.mark.parametrize("stated", [None, "", "FOR PROCESSING"])
def test_the_class_decides_where_the_source_says_nothing_or_another_thing(
    stated: str | None,
) -> None:
    image = written(made("MG", "FOR PRESENTATION", PresentationIntentType=stated))
    assert image.PresentationIntentType == "FOR PRESENTATION"


def test_other_classes_have_no_intent() -> None:
    given = analyses.analysis()
    derived = DerivedImages(given.images.pixels, (1.0, 1.0), (0.0, 0.0))
    model = analyses.manifest(outputs=[OUTPUT], explanation={"method": "none"})
    said = replace(given, manifest=model, prediction=replace(given.prediction, derived=derived))
    (image, *_) = DerivedImagesWriter().write(Case(said), [])
    assert "PresentationIntentType" not in image.dataset


def test_what_is_for_presentation_is_shown_as_its_source() -> None:
    none = {"WindowCenter": None, "WindowWidth": None}
    table = written(made("DX", "FOR PRESENTATION", **none, VOILUTSequence=[item(**TABLE)]))
    assert table.VOILUTSequence[0].LUTDescriptor == TABLE["LUTDescriptor"]
    nothing = written(made("DX", "FOR PRESENTATION", **none))
    assert nothing.WindowWidth > 1
    raw = written(made("DX", "FOR PROCESSING", **none))
    assert "VOILUTSequence" not in raw
    assert not raw.get("WindowWidth")


def test_values_below_0_are_cut_off_for_these_classes_are_unsigned() -> None:
    image = written(made("DX", "FOR PRESENTATION", change=-2000))
    assert image.PixelRepresentation == 0
    assert set(image.PixelData) == {0}


def test_pixels_of_another_size_are_said_to_be_of_that_size() -> None:
    image = written(made("MG", "FOR PRESENTATION", ImagerPixelSpacing=[0.1, 0.05]))
    assert image.ImagerPixelSpacing == [0.2, 0.1]
