"""Estimators of scikit-learn: stored without code, and explained by what each feature added."""

import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import workers.bundles
from dicom_node.catalog import MANIFEST, open_bundle, parse_manifest
from dicom_node.domain.errors import CorruptBundle, UnsupportedModel, UnusableOutput
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.manifest import RegionPlan
from workers.classical.background import background
from workers.classical.extractor import Extractor
from workers.classical.features import FEATURES, features, region
from workers.classical.model import ClassicalModel, columns_of, load_estimator
from workers.classical.shapley import shapley

BUNDLE = Path(workers.bundles.__file__).parent / "tasks" / "qa-features"
RNG = np.random.default_rng(0)
CASES = RNG.normal(size=(120, len(FEATURES)))
CLASSES = (CASES[:, 0] + CASES[:, 5] > 0).astype(int)


def dumped(estimator, folder: Path) -> Path:
    path = folder / "model.skops"
    skops.io.dump(estimator, path)
    return path


def test_a_pickle_is_refused(tmp_path):
    path = tmp_path / "model.skops"
    path.write_bytes(pickle.dumps(LogisticRegression()))
    with pytest.raises(CorruptBundle) as caught:
        load_estimator(path)
    assert caught.value.code == "BUNDLE_CODE"


def test_a_type_that_brings_code_along_is_refused_by_name(tmp_path):
    fitted = make_pipeline(FunctionTransformer(_doubled), LogisticRegression()).fit(CASES, CLASSES)
    with pytest.raises(CorruptBundle, match="_doubled") as caught:
        load_estimator(dumped(fitted, tmp_path))
    assert caught.value.code == "BUNDLE_CODE"


def _doubled(values):
    return 2 * values


def test_an_estimator_that_unpacks_beyond_any_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.classical.model.MAX_BYTES", 1 << 20)
    monkeypatch.setattr(skops.io, "load", lambda *_, **__: pytest.fail("it was read"))
    path = tmp_path / "model.skops"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", "{}")
        archive.writestr("0.npy", bytes(2 << 20))
    assert path.stat().st_size < 10_000
    with pytest.raises(CorruptBundle, match="too large unpacked") as caught:
        load_estimator(path)
    assert caught.value.code == "BUNDLE_SIZE"


def test_67_an_answer_that_is_no_number_is_refused(monkeypatch):
    model = ClassicalModel.load(open_bundle(BUNDLE))
    images = np.zeros((1, *model.manifest.input.shape), np.float32)
    assert np.isfinite(model.predict(images).heads["classification"]).all()
    nothing = np.full((1, len(FEATURES)), np.nan)
    monkeypatch.setattr(model._estimator, "predict_proba", lambda _: nothing, raising=False)
    with pytest.raises(UnusableOutput):
        model.predict(images)


@pytest.mark.parametrize(
    ("classes", "columns"),
    [
        (["No star", "star"], [1, 0]),
        ([False, True], [1, 0]),
        ([0, 1], [0, 1]),
        ([0.0, 1.0], [0, 1]),
    ],
)
def test_classes_are_those_of_the_manifest_in_whatever_order(classes, columns):
    """A benign one of an estimator that sorts by the alphabet was told as malignant."""
    assert list(columns_of(np.array(classes), ["Star"], "No star", "m")) == columns


@pytest.mark.parametrize("classes", [[-1, 1], [1, 2], ["a", "b"], [0, 1, 2], [], [False, True]])
def test_classes_that_nobody_knows_the_meaning_of_are_refused(classes):
    with pytest.raises(UnusableOutput, match="called as the exclusive targets of its manifest"):
        columns_of(np.array(classes), ["Star", "Disc"], None, "m")


def test_the_right_class_gets_the_probability_and_other_features_are_refused_at_once():
    said = open_bundle(BUNDLE).manifest
    named = LogisticRegression().fit(CASES, np.where(CLASSES, "Star", "No star"))
    served = ClassicalModel(said, named, {"features": CASES[:8]})
    batch = RNG.random((2, *said.input.shape), np.float32)
    logits = served.predict(batch).heads["classification"]
    expected = named.predict_proba(served.vectors(batch))[:, 1]
    assert served.probabilities(logits)[:, 0] == pytest.approx(expected, abs=1e-5)
    few = LogisticRegression().fit(CASES[:, :5], CLASSES)
    with pytest.raises(UnsupportedModel, match="cannot answer to 16 features"):
        ClassicalModel(said, few, {"features": CASES[:8]})


def test_packaging_brings_the_cases_along_that_features_are_told_against():
    said = open_bundle(BUNDLE).manifest
    planes = RNG.normal(100, 50, (5, 96, 96)).astype(np.float32)
    affine = np.diag([3.0, 3.0, 5.0, 1.0])[:, [2, 1, 0, 3]]
    frames = tuple(FrameReference("1.2", f"2.25.{n + 1}") for n in range(5))
    found = background(said, [SourceImages((), frames, planes, affine)] * 20)
    assert found["features"].shape == (20, len(FEATURES))


def test_shapley_values_add_up_and_name_the_features_that_count():
    def answer(cases):
        return 3 * cases[:, 0] - 2 * cases[:, 5] + cases[:, 1] * cases[:, 2]

    case = np.ones(len(FEATURES))
    shares = shapley(answer, case, CASES)
    assert shares.sum() == pytest.approx(answer(case[None])[0] - answer(CASES).mean())
    assert shares[0] == pytest.approx(3 * (1 - CASES[:, 0].mean()), abs=1e-9)
    assert shares[5] == pytest.approx(-2 * (1 - CASES[:, 5].mean()), abs=1e-9)
    np.testing.assert_allclose(shares[6:], 0, atol=1e-9)


def test_features_tell_a_disc_from_a_bar_and_flat_from_rough():
    rows, columns = np.indices((40, 40))
    disc = np.hypot(rows - 20, columns - 20) < 8
    bar = (abs(rows - 20) < 3) & (abs(columns - 20) < 15)
    names = list(FEATURES)
    flat = np.full((40, 40), 0.5, np.float32)
    rough = flat + RNG.normal(0, 0.1, flat.shape).astype(np.float32)
    elongation, contrast = names.index("elongation"), names.index("contrast")
    assert features(flat, disc)[elongation] > 0.95 > 0.4 > features(flat, bar)[elongation]
    assert features(rough, disc)[contrast] > features(flat, disc)[contrast] == 0


def test_the_region_is_the_largest_part_and_may_be_empty():
    image = np.zeros((20, 20), np.float32)
    image[2:4, 2:4], image[8:15, 8:15] = 1, 1
    assert region(image, 0.5, 2).sum() == 49
    assert not region(image, 3, 4).any()
    assert not features(image, region(image, 3, 4)).any()


def test_a_bundle_says_what_computed_its_features_and_no_other_extractor_is_taken():
    text = (BUNDLE / MANIFEST).read_text("utf-8")
    assert 'extractor = "scikit-image"' in text
    other = text.replace('extractor = "scikit-image"', 'extractor = "mirp"')
    with pytest.raises(
        CorruptBundle,
        match=r"region\.extractor: Input should be 'scikit-image' or 'pyradiomics'",
    ):
        parse_manifest(other.encode(), BUNDLE)


def test_features_of_pyradiomics_are_refused_with_a_remedy_where_it_is_not_installed(monkeypatch):
    """An estimator that learnt them would be misled by those of scikit-image."""
    monkeypatch.setitem(sys.modules, "radiomics", None)
    plan = RegionPlan(low=0, high=1, extractor="pyradiomics")
    with pytest.raises(UnsupportedModel, match=r"pip install 'dicom-node\[radiomics\]'"):
        Extractor.of(plan)


def test_pyradiomics_reads_its_own_features_and_agrees_in_shape_and_first_order():
    pytest.importorskip("radiomics", reason="pyradiomics needs Python 3.11 and a C compiler")
    rows, columns = np.indices((48, 48))
    mask = ((rows - 24) / 9) ** 2 + ((columns - 24) / 14) ** 2 < 1
    image = (100 + 30 * np.sin(rows / 3) + RNG.normal(0, 9, mask.shape)).astype(np.float32)
    theirs = Extractor.of(RegionPlan(low=0, high=1, extractor="pyradiomics", bin_width=10))
    found = dict(zip(theirs.features, theirs.within(image, mask), strict=True))
    assert len(found) == 102
    ours = dict(zip(FEATURES, features(image, mask), strict=True))
    alike = {
        "mean": "firstorder_Mean",
        "variance": "firstorder_Variance",
        "skewness": "firstorder_Skewness",
        "percentile_90": "firstorder_90Percentile",
        "area": "shape2D_PixelSurface",
        "major_axis": "shape2D_MajorAxisLength",
        "elongation": "shape2D_Elongation",
    }
    for name, other in alike.items():
        assert found[other] == pytest.approx(ours[name], rel=0.02), name
    assert found["glcm_Contrast"] != pytest.approx(ours["contrast"], rel=0.1)
    assert theirs.features["glcm_Contrast"].name.meaning == "Contrast (GLCM)"
    for nothing in (mask & False, (rows == 9) & (columns < 9), (rows == 9) & (columns == 9)):
        assert not theirs.within(image, nothing).any()
