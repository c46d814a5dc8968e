"""The shipped bundle finds what was planted in phantoms that it never saw, and says why.

Each phantom goes the whole way: written as DICOM files, read, analysed.
"""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from dicom_node.catalog import open_bundle, shipped_bundles
from dicom_node.domain.analysis import Analysis
from dicom_node.domain.findings import Presence
from dicom_node.domain.provenance import Provenance
from dicom_node.testing.phantom import Phantom, phantom
from dicom_node.testing.study import make_study, save_study

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow, pytest.mark.timeout(600)]

SEEDS = range(30_000, 30_060)
"""Beyond those of training, validation and its test; even ones have lesions."""
SIZES, SPACINGS_MM = (256, 128, 512, 192), (5.0, 3.0, 7.0, 2.5)
PROVENANCE = Provenance("2.25.1", 1, "", "", "", datetime(2026, 1, 1))
KITS, BREAST = "series-ct-kits-00072", "series-ct-acrin-flt-breast-001/series729346"


@pytest.fixture(scope="module")
def model():
    from workers.loading import load_model

    path = next(path for path in shipped_bundles() if path.name == "phantom-lesion")
    return load_model(open_bundle(path))


@pytest.fixture(scope="module")
def analysed(model, tmp_path_factory) -> list[tuple[Phantom, Analysis]]:
    folder = tmp_path_factory.mktemp("phantoms")
    return [analysed_phantom(model, seed, folder / str(seed)) for seed in SEEDS]


def analysed_phantom(model, seed: int, folder: Path) -> tuple[Phantom, Analysis]:
    from workers.analysis import analyse

    source = planted(seed)
    paths = save_study(make_study(source), folder)
    shuffled = np.random.default_rng(seed).permutation(len(paths))
    analysis = analyse([paths[n] for n in shuffled], model, PROVENANCE)
    for path in paths:
        path.unlink()
    return source, analysis


def planted(seed: int) -> Phantom:
    lesions = 0 if seed % 2 else 2 if seed % 10 == 0 else 1
    kind = seed // 2 % len(SIZES)
    slices = 16 if SIZES[kind] == 512 else 24
    return phantom(
        seed, lesions=lesions, slices=slices, size=SIZES[kind], slice_spacing_mm=SPACINGS_MM[kind]
    )


def present(analysis: Analysis) -> bool:
    return any(finding.presence is Presence.PRESENT for finding in analysis.findings)


def outlined(analysis: Analysis) -> np.ndarray:
    masks = [s.mask for s in analysis.segments if s.label.startswith("Lesion")]
    return np.any(masks, axis=0) if masks else np.zeros(analysis.images.pixels.shape, bool)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_lesions_are_found_where_they_are_and_nowhere_else(analysed):
    """At most one phantom in fifty of either kind is called wrongly."""
    ill = [present(analysis) for source, analysis in analysed if source.lesions]
    well = [not present(analysis) for source, analysis in analysed if not source.lesions]
    assert np.mean(ill) >= 0.96, f"found {sum(ill)} of {len(ill)}"
    assert np.mean(well) >= 0.96, f"absent {sum(well)} of {len(well)}"


def test_outlines_agree_with_the_planted_lesions(analysed):
    scores = [dice(s.lesion, outlined(a)) for s, a in analysed if s.lesions]
    assert np.mean(scores) >= 0.85, f"mean {np.mean(scores):.3f}, least {min(scores):.3f}"


def test_the_body_is_outlined(analysed):
    for source, analysis in analysed:
        (body,) = (s.mask for s in analysis.segments if s.label == "Body")
        assert dice(source.body, body) >= 0.97


def test_the_place_that_a_heat_map_names_lies_in_a_lesion(analysed):
    named = []
    for source, analysis in analysed:
        for finding in analysis.findings:
            if source.lesions and finding.presence is Presence.PRESENT:
                region = finding.explanation.region
                inside = (
                    region is not None
                    and source.lesion[tuple(round(index) for index in region.centroid)]
                )
                named.append(bool(inside))
    assert np.mean(named) >= 0.95, f"{sum(named)} of {len(named)}"


def test_absent_lesions_have_no_evidence_stretched_into_a_map(analysed):
    for source, analysis in analysed:
        if not source.lesions and not present(analysis):
            (finding,) = analysis.findings
            saliency = finding.explanation.saliency
            assert saliency.values.max() < saliency.full_scale


def test_the_volume_that_is_reported_is_the_planted_one(analysed):
    ratios = []
    for source, analysis in analysed:
        if len(source.lesions) == 1 and present(analysis):
            planted_ml = source.lesion.sum() * np.prod(source.spacing_mm) / 1000
            volumes = [m.value for f in analysis.findings for m in f.measurements[:1]]
            ratios.append(sum(volumes) / planted_ml)
    assert np.median(ratios) == pytest.approx(1, abs=0.15)


def test_a_second_run_says_the_same(model, tmp_path):
    _, once = analysed_phantom(model, 30_000, tmp_path / "once")
    _, again = analysed_phantom(model, 30_000, tmp_path / "again")
    np.testing.assert_array_equal(once.prediction.logits, again.prediction.logits)
    assert [f.tracking_uid for f in once.findings] == [f.tracking_uid for f in again.findings]
    for one, other in zip(once.segments, again.segments, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)


@pytest.mark.shared
@pytest.mark.parametrize(("folder", "slices"), [(KITS, 18), (BREAST, 40)])
def test_real_ct_goes_the_whole_way(model, shared_data, folder, slices):
    """What it says of lesions there means nothing; the body it outlines must be one."""
    from workers.analysis import analyse

    analysis = analyse(sorted((shared_data / folder).glob("*.dcm")), model, PROVENANCE)
    assert len(analysis.images.frames) == slices
    body = next(s.mask for s in analysis.segments if s.label == "Body")
    tissue = analysis.images.pixels > -150
    assert body.any(axis=(1, 2)).all()
    assert (tissue & body).sum() / body.sum() > 0.5
    assert all(finding.explanation is not None for finding in analysis.findings)


@pytest.mark.shared
def test_a_note_says_that_large_images_were_not_read_to_their_border(model, shared_data):
    from workers.analysis import analyse

    paths = sorted((shared_data / BREAST).glob("*.dcm"))[:5]
    (note, *_) = analyse(paths, model, PROVENANCE).notes
    assert "middle 75%" in note


def test_its_card_tells_small_lesions_from_large_ones(model):
    from workers.training.phantom_text import INTERVALS, Chosen, decision
    from workers.training.text import card_text

    name = "Phantoms with a lesion called present"
    rows = [row for row in model.manifest.card.performance if row.name == name]
    assert [row.subgroup.split(": ")[0] for row in rows] == ["", *["largest lesion"] * 3]
    assert sum(row.cases for row in rows[1:]) == rows[0].cases
    (path,) = (path for path in shipped_bundles() if path.name == "phantom-lesion")
    (target,) = model.manifest.targets
    told = decision(Chosen(temperature=target.temperature))
    assert (path / "card.md").read_text("utf-8") == card_text(model.manifest, INTERVALS, told)
