"""Analyses with a known truth: a phantom, read by a model that never errs."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.domain.analysis import Analysis
from dicom_node.domain.concepts import own
from dicom_node.domain.explanation import (
    Explanation,
    ExplanationQuality,
    QualityMeasure,
    Region,
    SaliencyMap,
    Trust,
)
from dicom_node.domain.findings import Finding, Measurement, Presence, SegmentMask
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.job import SeriesChoice
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.prediction import Prediction
from dicom_node.domain.provenance import Provenance
from dicom_node.testing.phantom import Phantom, phantom
from dicom_node.testing.study import make_study

AT = datetime(2026, 3, 14, 9, 26, 53)
FULL_SCALE = 6.0
UIDS = {
    "StudyInstanceUID": "2.25.1001",
    "SeriesInstanceUID": "2.25.1002",
    "FrameOfReferenceUID": "2.25.1003",
}
LESION = {"value": "52988006", "scheme": "SCT", "meaning": "Lesion"}
ABNORMAL = {"value": "49755003", "scheme": "SCT", "meaning": "Morphologically Abnormal Structure"}
TRUNK = {"value": "22943007", "scheme": "SCT", "meaning": "Trunk"}
NO_UNITS = Code("1", "UCUM", "no units")
MILLILITRE = Code("ml", "UCUM", "ml")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")


def manifest(**changes: Any) -> ModelManifest:
    """Of a detector that segments lesions in CT."""
    return ModelManifest.model_validate(
        {
            "schema_version": 1,
            "name": "phantom-lesion",
            "version": "1.2.0",
            "title": "Phantom lesion detector",
            "manufacturer": "DICOM AI node project",
            "selection": {"modality": ["CT"]},
            "input": {"shape": [256, 256, 1]},
            "preprocess": [{"step": "window", "center": 40, "width": 400}],
            "outputs": [
                {"kind": "classification", "layer": "lesion", "targets": [target()]},
                {"kind": "segmentation", "layer": "mask", "segments": [segment()]},
            ],
            "explanation": {"method": "gradcam", "layer": "last", "full_scale": FULL_SCALE},
            "card": card(),
            **changes,
        }
    )


def target(**changes: Any) -> dict[str, Any]:
    return {
        "label": "lesion",
        "finding": LESION,
        "category": ABNORMAL,
        "site": TRUNK,
        "threshold": 0.5,
        "temperature": 1.3,
        "located_by": "lesion",
        **changes,
    }


def segment(**changes: Any) -> dict[str, Any]:
    return {"label": "lesion", "category": ABNORMAL, "type": LESION, **changes}


def card() -> dict[str, Any]:
    return {
        "intended_use": "Shows that a study makes its way through the node, on synthetic CT.",
        "not_for": "Any real patient. It has seen nothing but phantoms.",
        "training_data": "400 synthetic CT phantoms with planted lesions, seeds 1 to 400.",
        "limits": [
            "Lesions below 8 mm were never shown to it.",
            "Axial CT with soft tissue kernels only.",
        ],
        "performance": [
            {
                "name": "Sensitivity for a lesion",
                "value": 0.94,
                "low": 0.84,
                "high": 0.98,
                "cases": 50,
                "data": "50 phantoms that training never saw",
                "subgroup": "slices of 3 mm",
            },
            {
                "name": "Dice of the segmentation",
                "value": 0.87,
                "low": 0.84,
                "high": 0.89,
                "cases": 50,
                "data": "50 phantoms that training never saw",
            },
        ],
        "citation": "",
    }


def study(
    source: Phantom, *, attributes: Mapping[str, object] | None = None, **options: Any
) -> list[Dataset]:
    """Instances of the phantom at a fixed moment, with fixed study, series and frame UIDs."""
    return make_study(source, at=AT, attributes={**UIDS, **(attributes or {})}, **options)


def analysis(
    source: Phantom | None = None,
    instances: Sequence[Dataset] | None = None,
    *,
    localised: bool = True,
    explained: bool = True,
) -> Analysis:
    """What a perfect model says of a phantom and the instances made of it.

    ``instances`` may come in any order; they are sorted along the normal of the images, as the
    worker does. Without ``localised`` the maps name no place.
    """
    source = source or phantom(7, slices=12, size=128)
    given = list(instances if instances is not None else study(source))
    images, order = _images(source, given)
    masks = tuple(mask[order] for mask in source.lesions)
    return of_images(images, masks, manifest(), localised=localised, explained=explained)


def of_images(
    images: SourceImages,
    masks: Sequence[np.ndarray],
    model: ModelManifest,
    *,
    localised: bool = True,
    explained: bool = True,
) -> Analysis:
    """What a perfect model says of images that hold these lesions."""
    given = images.datasets
    provenance = provenance_of(images)
    parts = _Parts(images, model, provenance, localised=localised, explained=explained)
    segments = tuple(parts.segment(n, mask) for n, mask in enumerate(masks, start=1))
    return Analysis(
        manifest=parts.manifest,
        provenance=provenance,
        images=images,
        prediction=_prediction(images, masks),
        segments=segments,
        findings=tuple(parts.present(s) for s in segments) or (parts.absent(),),
        selection=selection(given),
        notes=("The series holds 12 images; the model was trained on 24.",),
        facts={"tensorflow": "2.21.0", "keras": "3.15.1", "device": "CPU", "seconds": "3.1"},
    )


def provenance_of(images: SourceImages, input_sha256: str = "1" * 64) -> Provenance:
    """Of the first analysis of their study."""
    return Provenance(
        study_instance_uid=str(images.datasets[0].StudyInstanceUID),
        generation=1,
        input_sha256=input_sha256,
        bundle_sha256="b0" * 32,
        config_sha256="c" * 64,
        opened_at=AT,
    )


def with_finding(given: Analysis, index: int = 0, **changes: Any) -> Analysis:
    """The same with one finding changed."""
    findings = list(given.findings)
    findings[index] = replace(findings[index], **changes)
    return replace(given, findings=tuple(findings))


def without_segments(given: Analysis) -> Analysis:
    """The same with findings that name no place."""
    findings = tuple(replace(f, segment=None) for f in given.findings[:1])
    return replace(given, segments=(), findings=findings)


def with_text(given: Analysis, attributes: Mapping[str, Any]) -> Analysis:
    """The same with other values in all source headers."""
    datasets = []
    for dataset in given.images.datasets:
        changed = deepcopy(dataset)
        for keyword, value in attributes.items():
            setattr(changed, keyword, value)
        datasets.append(changed)
    return replace(given, images=replace(given.images, datasets=tuple(datasets)))


def _images(source: Phantom, given: Sequence[Dataset]) -> tuple[SourceImages, list[int]]:
    """Sorted images, and for each the slice of the phantom it was made of."""
    row, column = np.reshape([float(c) for c in given[0].ImageOrientationPatient], (2, 3))
    normal = np.cross(row, column)
    ordered = sorted(given, key=lambda d: float(normal @ _position(d)))
    slices = [int(d.InstanceNumber) - 1 for d in ordered]
    affine = np.eye(4)
    affine[:3, 0] = (_position(ordered[-1]) - _position(ordered[0])) / max(len(ordered) - 1, 1)
    affine[:3, 1] = column * source.spacing_mm[1]
    affine[:3, 2] = row * source.spacing_mm[2]
    affine[:3, 3] = _position(ordered[0])
    images = SourceImages(
        datasets=tuple(_header(d) for d in ordered),
        frames=tuple(FrameReference(str(d.SOPClassUID), str(d.SOPInstanceUID)) for d in ordered),
        pixels=source.hu[slices].astype(np.float32),
        affine=affine,
    )
    return images, slices


def _position(dataset: Dataset) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([float(p) for p in dataset.ImagePositionPatient])


def _header(dataset: Dataset) -> Dataset:
    header = Dataset()
    header.update(dataset)
    del header.PixelData
    return header


def _prediction(images: SourceImages, masks: Sequence[np.ndarray]) -> Prediction:
    there = np.any(masks, axis=0) if masks else np.zeros(images.pixels.shape, bool)
    logits = np.where(there.any(axis=(1, 2)), 3.2, -3.2).astype(np.float32)[:, None]
    chances = (1 / (1 + np.exp(-logits / 1.3))).astype(np.float32)
    return Prediction(logits, chances, there[..., None].astype(np.float32))


def selection(given: Sequence[Dataset]) -> tuple[SeriesChoice, ...]:
    first = given[0]
    return (
        SeriesChoice(
            str(first.SeriesInstanceUID), str(first.get("SeriesDescription", "")), "CT",
            len(given), True, "axial CT with 12 images; the most images of those that fit",
        ),
        SeriesChoice(
            "1.2.3.4", "Scout", "CT", 2, False, "2 images, the model needs at least 8",
        ),
    )  # fmt: skip


class _Parts:
    def __init__(
        self,
        images: SourceImages,
        model: ModelManifest,
        provenance: Provenance,
        *,
        localised: bool,
        explained: bool,
    ) -> None:
        self.images, self.manifest, self.provenance = images, model, provenance
        self.localised, self.explained = localised, explained
        assert model.classification is not None
        self.target = model.classification.targets[0]

    def _tracking(self, name: str) -> tuple[str, str]:
        return name, self.provenance.tracking_uid(self.manifest.name, name)

    def segment(self, number: int, mask: np.ndarray) -> SegmentMask:
        tracking_id, tracking_uid = self._tracking(f"lesion {number}")
        kind, category = self.target.finding.code, self.target.category.code
        return SegmentMask(
            number, "lesion", category, kind, (255, 180, 0), mask, 0.5, tracking_id, tracking_uid
        )

    def present(self, mask: SegmentMask) -> Finding:
        frame = int(mask.mask.sum(axis=(1, 2)).argmax())
        return Finding(
            target=self.target,
            presence=Presence.PRESENT,
            probability=0.9234,
            frame=frame,
            tracking_id=mask.tracking_id,
            tracking_uid=mask.tracking_uid,
            segment=mask,
            measurements=self._measurements(mask.mask),
            explanation=self._explanation(frame, mask.mask) if self.explained else None,
        )

    def absent(self) -> Finding:
        frame = len(self.images.frames) // 2
        tracking_id, tracking_uid = self._tracking("lesion")
        empty = np.zeros(self.images.pixels.shape, bool)
        explanation = self._explanation(frame, empty) if self.explained else None
        return Finding(
            self.target, Presence.ABSENT, 0.081, frame, tracking_id, tracking_uid,
            explanation=explanation,
        )  # fmt: skip

    def _measurements(self, mask: np.ndarray) -> tuple[Measurement, ...]:
        volume = float(mask.sum() * np.prod(self.images.spacing_mm) / 1000)
        values = self.images.pixels[mask]
        return (
            Measurement(codes.SCT.Volume, round(volume, 2), MILLILITRE),
            Measurement(Code("103339001", "SCT", "Long axis"), 27.4, codes.UCUM.Millimeter),
            Measurement(codes.SCT.Mean, round(float(values.mean()), 1), HOUNSFIELD),
        )

    def _explanation(self, frame: int, mask: np.ndarray) -> Explanation:
        values = heat(mask)
        region = self._region(frame, values) if self.localised and mask.any() else None
        saliency = SaliencyMap(
            "lesion", codes.DCM.GradientWeightedClassActivation, "last", values, FULL_SCALE
        )
        return Explanation(saliency, region, quality(region is not None))

    def _region(self, frame: int, values: np.ndarray) -> Region:
        outline = values[frame] > values[frame].max() / 2
        rows, columns = np.nonzero(outline)
        centroid = (float(frame), float(rows.mean()), float(columns.mean()))
        return Region(frame, outline, centroid, self.images.to_patient(centroid))


def heat(mask: np.ndarray) -> np.ndarray:
    """A broad hill over the mask, as Grad-CAM's coarse grid makes it."""
    values = np.zeros(mask.shape, np.float32)
    rows, columns = np.indices(mask.shape[1:], sparse=True)
    for frame in np.flatnonzero(mask.any(axis=(1, 2))):
        y, x = (axis.mean() for axis in np.nonzero(mask[frame]))
        near = (rows - y) ** 2 + (columns - x) ** 2
        values[frame] = 4.8 * np.exp(-near / (2 * (mask.shape[1] / 18) ** 2))
    return values


def quality(localised: bool) -> ExplanationQuality:
    measures = (
        QualityMeasure(
            own("REGION_DROP", "Drop of the score when the region is blurred"), 2.9, NO_UNITS,
            "Without this region the model would no longer report the finding.",
        ),
        QualityMeasure(
            own("AT_BORDER", "Evidence at the image border"), 0.02, NO_UNITS,
            "Little of the evidence lies where no tissue is.",
        ),
    )  # fmt: skip
    if localised:
        return ExplanationQuality(Trust.RELIABLE, ("The region drives the score.",), measures)
    return ExplanationQuality(Trust.CAUTION, ("The map is flat: it names no place.",))
