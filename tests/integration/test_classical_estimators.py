"""Each estimator that README promises is served, explained, and reported by its bundle."""

import numpy as np
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from task_results import ABSENT, BUNDLES, PRESENT, Outcome, study

from dicom_node.catalog import CARD, MANIFEST
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.errors import UnsupportedModel
from dicom_node.domain.findings import Presence
from dicom_node.settings.node import Settings
from dicom_node.settings.results import Results
from dicom_node.testing.inserts import cylinder
from dicom_node.testing.study import save_study
from workers.bundle import write_bundle
from workers.by_hand import analyse_folder
from workers.classical import model as serving
from workers.loading import load_model
from workers.preprocess import prepare

pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.filterwarnings("ignore::FutureWarning")]

ESTIMATORS = {
    "logistic regression": LogisticRegression(),
    "support vectors": SVC(probability=True),
    "tree": DecisionTreeClassifier(max_depth=3),
    "forest": RandomForestClassifier(8, max_depth=3),
    "gradient boosting": GradientBoostingClassifier(n_estimators=5),
    "histogram gradient boosting": HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=5),
}
STEPS = {"PCA": PCA(6), "k-means": KMeans(4, n_init=1)}
TEXT, WORDS = ((BUNDLES / "qa-features" / name).read_text("utf-8") for name in (MANIFEST, CARD))
ONLY_REPORT = Settings(results=Results(kinds=(ResultKind.STRUCTURED_REPORT,)))
SEED = 70_100


@pytest.fixture(scope="module")
def taught():
    """(vectors, classes) of a few phantoms, as the recipe of qa-features reads them."""
    from workers.training.tasks import classical
    from workers.training.text import parse

    return classical.collect(parse(TEXT), range(SEED, SEED + 40))


@pytest.fixture(scope="module")
def star(tmp_path_factory):
    return save_study(
        study(cylinder(SEED - 1, ("star",), size=128)), tmp_path_factory.mktemp("star")
    )[0].parent


def packaged(folder, estimator, background, text=TEXT):
    skops.io.dump(estimator, folder / "model.skops")
    reference = {"features": background[:8]}
    return write_bundle(folder / "bundle", text, folder / "model.skops", WORDS, reference)


def logit(likely):
    return np.log(likely + serving.CERTAIN) - np.log(1 - likely + serving.CERTAIN)


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
def test_each_estimator_answers_and_its_shares_add_up(
    taught, star, tmp_path, monkeypatch, estimator, step
):
    vectors, classes = taught
    fitted = make_pipeline(StandardScaler(), step, estimator).fit(vectors, classes)
    bundle = packaged(tmp_path, fitted, vectors)
    monkeypatch.setattr(serving, "MOST_SHARES", vectors.shape[1])
    done = analyse_folder(star, bundle, tmp_path / "results", ONLY_REPORT)

    (finding,) = done.analysis.findings
    model = load_model(bundle)
    plane = prepare(done.analysis.images, bundle.manifest).values
    (likely,) = fitted.predict_proba(model.vectors(plane))[:, 0]
    assert finding.probability == pytest.approx(likely, abs=1e-5)
    told = logit(likely) - logit(fitted.predict_proba(vectors[:8])[:, 0]).mean()
    assert sum(share.logit for share in finding.shares) == pytest.approx(told, abs=1e-6)

    results = Outcome(tmp_path / "results")
    assert results.presence() == {"Star insert": PRESENT if likely >= 0.5 else ABSENT}
    (group,) = results.report.content.get_image_measurement_groups()
    names = {measured.name for measured in group.get_measurements()}
    assert {share.feature.name for share in finding.shares} <= names


@pytest.mark.parametrize("estimator", [LinearSVC(), SVC(), KMeans(2, n_init=1)])
def test_an_estimator_without_probabilities_is_refused_before_any_study(
    taught, tmp_path, estimator
):
    from workers.packaging import package_file

    vectors, classes = taught
    fitted = make_pipeline(StandardScaler(), estimator).fit(vectors, classes)
    draft = packaged(tmp_path, fitted, vectors)
    wanted = r"no probabilities \(predict_proba\): put it into sklearn.*CalibratedClassifierCV"
    with pytest.raises(UnsupportedModel, match=wanted):
        load_model(draft)
    file, reference = tmp_path / "model.skops", {"features": vectors[:8]}
    with pytest.raises(UnsupportedModel, match=wanted):
        package_file(tmp_path / "out", file, TEXT, WORDS, None, reference)
    assert not (tmp_path / "out").exists()


def test_the_remedy_for_one_without_probabilities_is_served(taught, tmp_path):
    vectors, classes = taught
    inner = make_pipeline(StandardScaler(), LinearSVC())
    model = load_model(packaged(tmp_path, CalibratedClassifierCV(inner).fit(*taught), vectors))
    shape = (2, *model.manifest.input.shape)
    said = model.predict(np.zeros(shape, np.float32)).heads["classification"]
    assert model.probabilities(said).sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert len(set(classes)) == said.shape[1]


def test_an_estimator_that_learnt_features_of_pyradiomics_is_served_those(star, tmp_path, valid):
    """A hundred of them: Shapley values by permutation, and an SR that names them in full."""
    pytest.importorskip("radiomics", reason="pyradiomics needs Python 3.11 and a C compiler")
    from workers.training.tasks import classical
    from workers.training.text import parse

    text = TEXT.replace('extractor = "scikit-image"', 'extractor = "pyradiomics"\nbin_width = 0.05')
    vectors, classes = classical.collect(parse(text), range(SEED, SEED + 40))
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(vectors, classes)
    bundle = packaged(tmp_path, fitted, vectors, text)
    done = analyse_folder(star, bundle, tmp_path / "results", Settings())

    (finding,) = done.analysis.findings
    assert finding.presence is Presence.PRESENT
    assert {share.feature.name.scheme_designator for share in finding.shares} == {"99PYRADIOMICS"}
    results = Outcome(tmp_path / "results")
    (group,) = results.report.content.get_image_measurement_groups()
    named = {measured.name.value: measured.value for measured in group.get_measurements()}
    for share in finding.shares:
        assert named[share.feature.name.value] == pytest.approx(share.feature.value, rel=1e-4)
        assert share.feature.name.meaning in results.page
    valid(results)
