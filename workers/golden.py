"""Golden files: a few images and what the heads of the model said of them.

Whoever gets the bundle asks again, and sees whether this machine, with these versions, still gives
the same numbers. The images carry the geometry and those header values that the manifest's steps
and views read, and nothing else of a patient; their pixels are as they were given.
"""

import json
from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.catalog import GOLDEN_EXPECTED, GOLDEN_INPUT, BundleFolder
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import CorruptBundle
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.manifest import ModelManifest
from workers.arrays import Arrays, read_arrays
from workers.bundle import Golden
from workers.items import Items
from workers.model import Model
from workers.pixels import functional_group
from workers.preprocess import prepare

MOST_SLICES = 8
"""Of a model that reads them one by one."""
TOLERANCE = 0.01
"""Of the range of a head's numbers: processors and versions of libraries differ by less."""
KEPT = ("Modality", "SOPClassUID", "PhotometricInterpretation", "Laterality", "ImageLaterality")
WINDOW = ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence")


def make_golden(model: Model, images: SourceImages) -> Golden:
    """The middle images of a series, and what the model says of them."""
    given = _some(images, model.manifest)
    said = {
        name: _rounded(values, spread(name, values, model.manifest))
        for name, values in heads(model, given).items()
    }
    return Golden(_stored(given, model.manifest), said)


def golden_images(bundle: BundleFolder) -> SourceImages | None:
    """What lies in ``golden/input.npz``; none for a bundle without. Raises CorruptBundle."""
    if not (bundle.path / GOLDEN_INPUT).is_file():
        return None
    arrays = read_arrays(bundle.path / GOLDEN_INPUT)
    try:
        headers = [Dataset.from_json(str(text)) for text in arrays["headers"]]
        frames = tuple(FrameReference(h.SOPClassUID, h.SOPInstanceUID) for h in headers)
        affine = arrays.get("affine")
        return SourceImages(tuple(headers), frames, arrays["pixels"].astype(np.float32), affine)
    except (KeyError, AttributeError, ValueError, TypeError) as error:
        raise CorruptBundle(
            f"{GOLDEN_INPUT} of {bundle.id} cannot be read: package the bundle again"
        ) from error


def differences(bundle: BundleFolder, model: Model) -> Iterator[tuple[str, float]]:
    """By head, the largest difference from what the model once said, as a part of its range.

    Raises CorruptBundle where the heads are others than then.
    """
    given = golden_images(bundle)
    if given is None:
        return
    expected, found = read_arrays(bundle.path / GOLDEN_EXPECTED), heads(model, given)
    shapes = [{name: v.shape for name, v in each.items()} for each in (expected, found)]
    if shapes[0] != shapes[1]:
        raise CorruptBundle(
            f"the heads of {bundle.id} are {shapes[1]}, and {GOLDEN_EXPECTED} has {shapes[0]}: "
            "package the bundle again"
        )
    for name, values in expected.items():
        apart = np.abs(found[name] - values) / spread(name, values, bundle.manifest)
        yield name, float(apart.max())


def spread(head: str, values: FloatArray, manifest: ModelManifest) -> FloatArray:
    """The range that differences are parts of: of a number that the manifest says it has.

    A slice or two of one patient have no range of their own, and numbers have units.
    """
    plan = manifest.regression
    if plan is not None and head == plan.kind:
        return np.array([quantity.high - quantity.low for quantity in plan.quantities])
    return np.array([max(1.0, float(np.ptp(values)))])


def heads(model: Model, images: SourceImages) -> dict[str, FloatArray]:
    """What each head says of all items of a series."""
    prepared = prepare(images, model.manifest)
    items = Items.of(model.manifest.input, prepared)
    said: dict[str, list[FloatArray]] = {}
    for start in range(0, len(items.frames), model.manifest.input.batch):
        chosen = slice(start, start + model.manifest.input.batch)
        for name, values in model.predict(items.inputs(prepared.values, chosen)).heads.items():
            said.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in said.items()}


def _rounded(values: FloatArray, reach: FloatArray) -> FloatArray:
    """To a power of two far below the tolerance, so that it packs well."""
    step = 2.0 ** np.floor(np.log2(reach * TOLERANCE / 10))
    return np.asarray(np.rint(values / step) * step, np.float32)


def _some(images: SourceImages, manifest: ModelManifest) -> SourceImages:
    """Frames that follow each other about the middle; all views."""
    deep = manifest.input.unit in ("volume", "sequence")
    most = manifest.input.shape[0] if deep else MOST_SLICES
    count = len(images.frames)
    if manifest.input.unit == "views" or count <= most:
        return images
    first = (count - most) // 2
    affine = None if images.affine is None else images.affine.copy()
    if affine is not None:
        affine[:3, 3] += affine[:3, 0] * first
    chosen = slice(first, first + most)
    return SourceImages(images.datasets, images.frames[chosen], images.pixels[chosen], affine)


def _stored(images: SourceImages, manifest: ModelManifest) -> Arrays:
    exact = np.array_equal(images.pixels, images.pixels.astype(np.int16))
    arrays = {
        "pixels": images.pixels.astype(np.int16) if exact else images.pixels,
        "headers": np.array(list(_headers(images, manifest))),
    }
    return arrays if images.affine is None else {**arrays, "affine": images.affine}


def _headers(images: SourceImages, manifest: ModelManifest) -> Iterator[str]:
    """As DICOM JSON (PS3.18 F), one a frame; UIDs are numbers from 1."""
    views = [rule.keyword for view in manifest.input.views for rule in view.rules]
    keywords = [*KEPT, *views]
    by_uid = {str(header.SOPInstanceUID): header for header in images.datasets}
    for number, frame in enumerate(images.frames, 1):
        source = by_uid[frame.sop_instance_uid]
        inner = functional_group(source, (frame.frame_number or 1) - 1, "FrameVOILUTSequence")
        header = Dataset()
        for keyword in keywords:
            _copy(source, header, keyword)
        for keyword in WINDOW:
            _copy(inner or source, header, keyword)
        header.SOPInstanceUID = f"2.25.{number}"
        yield json.dumps(header.to_json_dict(), sort_keys=True)


def _copy(source: Dataset, header: Dataset, keyword: str) -> None:
    if keyword in source:
        header[keyword] = source[keyword]
