"""What results cost: all objects of a long study, beside highdicom's constructors and the network.

300 slices of 512 × 512 with five segments and a heat map that is warm everywhere, on one core.
"""

import os
import resource
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from multiprocessing import get_context
from tempfile import TemporaryFile
from typing import Any

import analyses
import highdicom as hd
import numpy as np
from measure import Row, cpu_seconds, in_turn, row, seconds
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_node.domain.analysis import Analysis
from dicom_node.testing.phantom import Phantom
from reports.case import Case
from reports.parametric_map import ParametricMapWriter
from reports.part10 import file_parts
from reports.segmentation import SegmentationWriter
from reports.structured_report import StructuredReportWriter
from reports.writer import DEFAULT_WRITERS, ResultWriter, write_results

SLICES, SIZE, SEGMENTS = 300, 512, 5
DATA_WRITERS = (SegmentationWriter(), ParametricMapWriter(), StructuredReportWriter())
"""Of the kinds that highdicom has constructors for."""
PEER = "highdicom constructors"
U_NET = "U-Net at 512 x 512"
WIDTHS = (32, 64, 128, 256, 512, 512, 512, 512)
"""Feature maps by depth, as nnU-Net plans its 2-D network for such slices (Isensee 2021)."""


def rows() -> Iterator[Row]:
    """Seconds and MiB to write."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    study()
    figures = in_turn(
        {
            "data": lambda: seconds(lambda: ours(DATA_WRITERS)),
            PEER: lambda: seconds(theirs),
            "all": lambda: cpu_seconds(lambda: ours(DEFAULT_WRITERS)),
        }
    )
    yield row(figures, "data", "write.300x512.seg_pm_sr_s", "s", PEER, at_most=1.2)
    memory = in_turn(
        {"data": lambda: grown(ours, DATA_WRITERS), PEER: lambda: grown(theirs)}, rounds=1
    )
    yield row(memory, "data", "write.300x512.seg_pm_sr_mib", "MiB", PEER, at_most=1.2)
    yield Row("write.300x512.all_mib", grown(ours, DEFAULT_WRITERS), "MiB")
    everything = statistics.median(figures["all"])
    for network, spent in inferences():
        beside = everything / spent
        yield Row("write.300x512.all_cpu_s", everything, "s", network, beside, at_most=0.1)


@cache
def study() -> Analysis:
    """Made of balls in noise; positions, not looks, are what costs."""
    grid = np.ogrid[:SLICES, :SIZE, :SIZE]
    lesions = tuple(_ball(grid, 40 + 50 * n, 100 + 70 * n, 28) for n in range(SEGMENTS))
    noise = np.random.default_rng(1).integers(-60, 120, (SLICES, SIZE, SIZE), np.int16)
    source = Phantom(noise, lesions, noise > -1000, (1.0, 0.7, 0.7))
    given = analyses.analysis(source)
    warm = np.maximum(given.findings[0].explanation.saliency.values, np.float32(1))
    explanation = given.findings[0].explanation
    shared = replace(explanation, saliency=replace(explanation.saliency, values=warm))
    findings = tuple(replace(f, explanation=shared) for f in given.findings)
    return replace(given, findings=findings)


def _ball(grid: Any, z: int, y: int, radius: int) -> np.ndarray:
    return (grid[0] - z) ** 2 + (grid[1] - y) ** 2 + (grid[2] - y) ** 2 < radius**2


def ours(writers: tuple[ResultWriter, ...]) -> None:
    """As ``dicom-worker analyse`` does."""
    with TemporaryFile() as file:
        for result in write_results(Case(study()), writers):
            file.writelines(file_parts(result.dataset))


def theirs() -> None:
    """SEG, map and SR of the same arrays by the plain constructors."""
    given = study()
    sources = list(given.images.datasets)
    made = {"series_number": 1, "instance_number": 1, "manufacturer": "Maker"}
    device = {
        "manufacturer_model_name": "Model", "software_versions": "1", "device_serial_number": "1",
    }  # fmt: skip
    algorithm = hd.AlgorithmIdentificationSequence("Model", codes.DCM.ArtificialIntelligence, "1")
    labels = np.zeros(given.segments[0].mask.shape, np.uint8)
    for segment in given.segments:
        labels[segment.mask] = segment.number
    segmentation = hd.seg.Segmentation(
        sources, labels, "BINARY",
        [
            hd.seg.SegmentDescription(
                s.number, s.label, s.category, s.type, "AUTOMATIC", algorithm,
                tracking_uid=s.tracking_uid, tracking_id=s.tracking_id,
            )
            for s in given.segments
        ],
        series_instance_uid=hd.UID(), sop_instance_uid=hd.UID(), **made, **device,
    )  # fmt: skip
    values = given.findings[0].explanation.saliency.values
    mapping = hd.pm.RealWorldValueMapping(
        "LOGIT", "Evidence", codes.UCUM.NoUnits, (0.0, 6.0), slope=1, intercept=0,
        quantity_definition=codes.DCM.GradientWeightedClassActivation,
    )  # fmt: skip
    heat = hd.pm.ParametricMap(
        sources, values, hd.UID(), sop_instance_uid=hd.UID(), **made, **device,
        contains_recognizable_visual_features=False, real_world_value_mappings=[mapping],
        voi_lut_transformations=[hd.VOILUTTransformation(3, 6)],
    )  # fmt: skip
    groups = [
        hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            hd.sr.TrackingIdentifier(finding.tracking_uid, finding.tracking_id),
            referenced_segment=_referenced(given, segmentation, finding.segment.number),
            finding_type=finding.target.finding.code,
            measurements=[hd.sr.Measurement(m.name, m.value, m.unit) for m in finding.measurements],
        )
        for finding in given.findings
    ]
    observer = hd.sr.ObserverContext(
        codes.DCM.Device, hd.sr.DeviceObserverIdentifyingAttributes(hd.UID())
    )
    report = hd.sr.MeasurementReport(
        hd.sr.ObservationContext(observer_device_context=observer),
        codes.cid100.CTUnspecifiedBodyRegion, groups, referenced_images=sources,
    )  # fmt: skip
    document = hd.sr.Comprehensive3DSR(
        [*sources, segmentation], report[0], hd.UID(), sop_instance_uid=hd.UID(), **made
    )
    with TemporaryFile() as file:
        for dataset in (segmentation, heat, document):
            dcmwrite(file, dataset, enforce_file_format=True)


def _referenced(given: Analysis, segmentation: Dataset, number: int) -> hd.sr.ReferencedSegment:
    mask = given.segments[number - 1].mask
    images = [
        hd.sr.SourceImageForSegmentation(frame.sop_class_uid, frame.sop_instance_uid)
        for frame, plane in zip(given.images.frames, mask, strict=True)
        if plane.any()
    ]
    uids = (segmentation.SOPClassUID, segmentation.SOPInstanceUID)
    return hd.sr.ReferencedSegment(*uids, number, source_images=images)


def grown(call: Callable[..., None], *arguments: object) -> float:
    """MiB by which a call grows a process that holds the study already."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        return pool.submit(_grown, call, *arguments).result()


def _grown(call: Callable[..., None], *arguments: object) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call(*arguments)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def inferences() -> Iterator[tuple[str, float]]:
    """Processor seconds for these slices, by network: with explanation, where it is a shipped one.

    Of those that read slice by slice, small as they are, and of a network of usual size that would
    make such segments. What a network is for does not matter here: the pixels of an MR cost what
    those of a CT cost.
    """
    from dicom_node.catalog import open_bundle, shipped_bundles
    from workers.loading import load_model
    from workers.prediction import predict
    from workers.preprocess import prepare

    for bundle in map(open_bundle, shipped_bundles()):
        if bundle.manifest.input.unit != "slice":
            continue
        model = load_model(bundle)
        prepared = prepare(study().images, model.manifest)
        predict(model, prepared)
        yield (
            f"inference, {bundle.manifest.id}",
            cpu_seconds(partial(predict, model, prepared)),
        )
    yield f"inference, {U_NET}", SLICES * cpu_seconds(one_slice_by_u_net())


def one_slice_by_u_net() -> Callable[[], object]:
    """A compiled call, made once: every slice costs the same."""
    import keras
    import tensorflow as tf

    def block(values: Any, filters: int, stride: int = 1) -> Any:
        for step in (stride, 1):
            values = keras.layers.Conv2D(filters, 3, step, "same", activation="relu")(values)
        return values

    image = keras.Input((SIZE, SIZE, 1))
    values, skipped = block(image, WIDTHS[0]), []
    for filters in WIDTHS[1:]:
        skipped.append(values)
        values = block(values, filters, stride=2)
    for skip in reversed(skipped):
        values = keras.layers.Conv2DTranspose(skip.shape[-1], 2, 2)(values)
        values = block(keras.layers.Concatenate()([values, skip]), skip.shape[-1])
    network = keras.Model(image, keras.layers.Conv2D(SEGMENTS, 1)(values))
    compiled = tf.function(network, jit_compile=False)
    one = tf.zeros((1, SIZE, SIZE, 1))
    compiled(one)
    return lambda: compiled(one).numpy()
