"""Maps of every task are measured: of blocks, sequences, views, boxes and numbers, as of slices."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import analyses
import numpy as np
import pytest

from dicom_node.catalog import REFERENCE, open_bundle
from dicom_node.domain.explanation import Trust
from dicom_node.domain.findings import Presence
from dicom_node.domain.images import FrameReference, SourceImages
from dicom_node.domain.manifest import ExplanationPlan, ModelManifest
from dicom_node.domain.provenance import Provenance
from dicom_node.domain.trust import ExplanationCheck, VerdictNumber, VerdictPlan
from dicom_node.testing.phantom import phantom
from explain.evidence import without
from explain.thorough import CHECKS, PASSES
from reports.wording import place_text
from workers.doubt import COPIES
from workers.trust import FAILED, FAINT, NO_MEASURE, pointing

keras = pytest.importorskip("keras")
pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

BUNDLES = Path(__file__).parents[2] / "workers" / "bundles" / "tasks"
PROVENANCE = Provenance("2.25.9", 1, "input", "bundle", "config", datetime(2026, 1, 2))
ALL = 10 * PASSES
UNTESTED = {"verdict": None, "check": None}
"""A bundle whose maps nobody tried."""
THOROUGH = {told.name.value for check in CHECKS for told in check.told}
CHEAP = {"REGION_DROP", "BEYOND_BODY", "BORDER", "SPREAD"}
KNOWN = {"EXPECTED_PLACE", "UNFAMILIAR"}
"""Of bundles with a reference: places and looks of what was learnt from."""
MOVED = {"SHIFT_AGREEMENT", "SHIFT_SSIM"}
OUTLINED = {"ENERGY_INSIDE", "OVERLAP", "OUTLINE_DROP", "POINTING"}
EXPECTED = {
    "qa-sequence": CHEAP | THOROUGH | MOVED,
    "qa-views": CHEAP | THOROUGH | MOVED,
    "qa-diameter": CHEAP | THOROUGH | MOVED,
    "qa-boxes": CHEAP | OUTLINED | THOROUGH - MOVED,
    "qa-spheres": CHEAP | OUTLINED | {"OUTLINE_SURE"} | THOROUGH | MOVED,
}
EXPECTED = {
    name: codes | (KNOWN if (BUNDLES / name / REFERENCE).is_file() else set())
    for name, codes in EXPECTED.items()
}
JUDGED = [n for n in sorted(EXPECTED) if open_bundle(BUNDLES / n).manifest.explanation.verdict]
SEEDS = {
    "qa-sequence": 70_001,
    "qa-views": 70_002,
    "qa-boxes": 70_000,
    "qa-diameter": 70_000,
    "qa-spheres": 70_000,
}
"""Of phantoms that training never saw, and that have something to find."""
FOR_ALONE = {"qa-diameter"}
"""Nothing lowers it."""
THREE_BOXES = 70_004


class Case:
    """A model's analysis of one phantom, and how often its network was asked."""

    def __init__(self, model, images, *, passes=ALL, **plan) -> None:
        from workers.analysis import analyse_images
        from workers.asked import Asked
        from workers.preprocess import prepare

        given = model.manifest
        changed = given.explanation.model_copy(update={"measure_passes": passes, **plan})
        model.manifest = given.model_copy(update={"explanation": changed})
        self.items = 0
        try:
            self.analysis = analyse_images(images, self._counting(model), PROVENANCE)
            prepared = prepare(images, model.manifest)
        finally:
            model.manifest = given
        self.asked = Asked(model, prepared, self.analysis.prediction)

    def _counting(self, model):
        case, predict = self, type(model).predict

        def counted(batch):
            case.items += len(batch[0] if isinstance(batch, list) else batch)
            return predict(model, batch)

        model.predict = counted
        return model

    @property
    def measured(self):
        """Answers with a map that was measured."""
        answers = self.analysis.answers
        return [a for a in answers if getattr(a, "presence", "PRESENT") == Presence.PRESENT]

    def seen(self, answer):
        return self.asked.seen(answer, answer.explanation.saliency)


def named(answer) -> dict[str, float]:
    """What was measured, by its code; without the chance that a verdict makes of it."""
    measures = answer.explanation.quality.measures
    return {m.name.value: m.value for m in measures if m.name.value != "MAP_HITS"}


@pytest.fixture(scope="module")
def cases():
    from workers.loading import load_model
    from workers.training.tasks import detection, regression, sequence, views, volume

    known = {m.NAME: m.RECIPES[m.NAME] for m in (detection, regression, sequence, views, volume)}
    made = {}

    def case(name: str, seed: int = 0, **plan) -> Case:
        key = (name, seed, *sorted(plan.items()))
        if key not in made:
            model = load_model(open_bundle(BUNDLES / name))
            made[key] = Case(model, known[name].plant(seed or SEEDS[name]).images, **plan)
        return made[key]

    return case


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_map_of_each_task_has_its_numbers_and_no_verdict_that_was_not_fitted(cases, name):
    measured = cases(name, **UNTESTED).measured
    assert measured
    for answer in measured:
        quality = answer.explanation.quality
        assert quality.trust is Trust.NOT_MEASURED
        assert quality.reasons == (
            "This model came without a test of its maps on cases with known places.",
        )
        assert set(named(answer)) == EXPECTED[name]


@pytest.mark.parametrize("name", JUDGED)
def test_a_verdict_that_was_fitted_gives_each_map_its_chance(cases, name):
    measured = cases(name).measured
    assert measured
    for answer in measured:
        quality = answer.explanation.quality
        assert quality.trust is not Trust.NOT_MEASURED
        assert quality.measures[0].name.value == "MAP_HITS"
        assert set(named(answer)) == EXPECTED[name]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_image_as_it_was_gets_the_score_that_it_had_and_the_map(cases, name):
    case = cases(name)
    for answer in case.measured:
        seen = case.seen(answer)
        scores, maps = case.asked.again(answer, np.stack([seen.image, 0 * seen.image]))
        assert scores[0] == pytest.approx(seen.logit, rel=1e-3, abs=1e-3)
        assert scores[1] != pytest.approx(seen.logit, rel=1e-3)
        np.testing.assert_allclose(case.asked.ask(answer, seen.image[None]), scores[:1], rtol=1e-3)
        assert np.corrcoef(maps[0].ravel(), seen.values.ravel())[0, 1] > 0.99
        assert maps[0].max() == pytest.approx(seen.values.max(), rel=0.05)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_what_speaks_against_an_answer_is_kept_beside_what_is_shown(cases, name):
    case = cases(name)
    for answer in case.measured:
        saliency = answer.explanation.saliency
        shown = case.asked.prepared.on_source(np.maximum(saliency.signed, 0)[..., None])[..., 0]
        assert shown.shape == saliency.values.shape
        assert np.corrcoef(shown.ravel(), saliency.values.ravel())[0, 1] > 0.95
        assert shown.max() == pytest.approx(saliency.values.max(), rel=0.1)
    positive = case.asked.model.manifest.explanation.method == "layercam"  # gradients above 0 alone
    assert name in FOR_ALONE or (saliency.signed.min() < 0) is not positive


def test_all_together_stay_within_the_budget_of_passes(cases):
    few = cases("qa-sequence", passes=24)
    assert few.items <= 1 + 3 + 24
    (answer,) = few.measured
    assert {"DELETION", "REGION_DROP"} <= set(named(answer))
    assert "INSERTION" not in named(answer)
    assert "Insertion area" in answer.explanation.quality.left_out


def test_by_default_two_answers_have_all_numbers_and_a_third_what_is_left(cases):
    one = ExplanationPlan(method="none").measure_passes
    assert one == COPIES + PASSES
    case = cases("qa-boxes", passes=one, seed=THREE_BOXES)
    full = [each for each in case.measured if set(named(each)) == EXPECTED["qa-boxes"]]
    assert len(full) == 2 < len(case.measured)
    assert [each.explanation.quality.left_out for each in full] == ["", ""]
    assert case.items <= 1 + 3 * len(case.measured) + 2 * one


def test_what_is_said_of_one_image_of_several_says_so(cases):
    for name in ("qa-sequence", "qa-views"):
        (answer,) = cases(name).measured
        assert "on this image alone, the probability" in answer.explanation.counterfactual
        assert answer.certainty[-1].startswith("Moved and noisy copies of the key slice")


def test_a_box_is_the_outline_of_its_finding_and_its_own_score_is_asked(cases):
    case = cases("qa-boxes")
    assert len(case.measured) > 1
    for answer in case.measured:
        seen = case.seen(answer)
        grid = case.asked.prepared.grid
        size = [
            (b - a) / s
            for a, b, s in zip(answer.box.first, answer.box.last, grid.step, strict=True)
        ]
        assert seen.outline.sum() == pytest.approx(np.prod(size), rel=0.4)
        assert named(answer)["OUTLINE_DROP"] == 100
        inside = answer.box.holds(answer.explanation.region.centroid)
        assert named(answer)["POINTING"] == inside == 1
        assert answer.certainty[-1].startswith("Noisy copies")
    first, second = case.measured[:2]
    gone = without(case.seen(second).image, case.seen(second).outline)[None]
    assert case.asked.ask(second, gone)[0] < 0
    assert case.asked.ask(first, gone)[0] == pytest.approx(case.seen(first).logit, abs=1)


def test_the_centre_of_the_named_place_is_looked_for_in_the_findings_own_outline():
    """As the sentence beside the map says it; without an outline there is nothing to say."""
    given = analyses.analysis(phantom(7, slices=12, size=64))
    finding, region = given.findings[0], given.findings[0].explanation.region
    (right,) = pointing(finding, region)
    away = replace(region, centroid=(region.centroid[0], 1.0, 1.0))
    (wrong,) = pointing(finding, away)
    assert (right.value, wrong.value) == (1, 0)
    assert "inside segment" in place_text(finding)
    assert pointing(replace(finding, segment=None), region) == []


def test_a_segment_is_asked_about_by_the_pixels_that_it_has_on_the_key_slice(cases):
    """However the image is changed; and the sentence speaks of its outline."""
    case = cases("qa-spheres")
    (estimate,) = case.measured
    seen = case.seen(estimate)
    np.testing.assert_array_equal(seen.outline, estimate.segment.mask[estimate.frame])
    likely = np.clip(seen.likely[seen.outline], 1e-6, 1 - 1e-6)
    assert seen.logit == pytest.approx(np.log(likely / (1 - likely)).mean(), rel=1e-3)
    assert seen.operating == 0
    gone = float(case.asked.ask(estimate, without(seen.image, seen.outline)[None])[0])
    fall = 100 * np.clip((seen.logit - gone) / seen.logit, 0, 1)
    assert named(estimate)["OUTLINE_DROP"] == pytest.approx(fall, abs=0.1)
    assert fall > 80
    told = estimate.explanation.counterfactual
    assert "on this image alone, the certainty of the outline" in told


def test_of_a_number_the_relative_fall_is_measured(cases):
    case = cases("qa-diameter", **UNTESTED)
    (estimate,) = case.measured
    seen = case.seen(estimate)
    number = estimate.measurements[0].value
    assert (seen.logit, seen.operating) == pytest.approx((number, 0), abs=5)
    region = seen.values >= 0.5 * seen.values.max()
    left = float(case.asked.ask(estimate, without(seen.image, region)[None])[0])
    fall = 100 * np.clip((seen.logit - left) / seen.logit, 0, 1)
    assert named(estimate)["REGION_DROP"] == pytest.approx(fall, abs=0.1)
    told = estimate.explanation.counterfactual
    assert told == (
        "Without the place that the map names, the number on this slice is "
        f"{left:.4g} mm, and was {seen.logit:.4g} mm."
    )
    meanings = [m.meaning for m in estimate.explanation.quality.measures]
    assert meanings[0].startswith("part of the number that goes")


SIDE = 64
BRIGHT, GREY = 240.0, 40.0  # HU: 1 and 0.5 of the window


def series(count: int, *bright: int) -> SourceImages:
    """Grey discs, some of them with a bright square."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    disc = np.hypot(rows - 32, columns - 32) < 26
    pixels = np.where(disc, GREY, -160.0)[None].repeat(count, axis=0).astype(np.float32)
    for frame in bright:
        pixels[frame, 28:36, 36:44] = BRIGHT
    affine = np.array([[0, 0, 4.5, 0], [0, 4.5, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]], float)
    frames = tuple(FrameReference("1.2", f"2.25.{n + 1}") for n in range(count))
    return SourceImages((), frames, pixels, affine)


def counting_squares(unit: str, planes: int, bias: float):
    """A network whose logit is 4 for each bright square that it is shown, and the bias.

    Calibrated by a temperature of 2.
    """
    from workers.keras_model import KerasModel
    from workers.training.tasks import sequence
    from workers.training.tasks.recipe import manifest_of

    manifest = manifest_of(sequence.RECIPES[sequence.NAME])
    given = manifest.input.model_copy(update={"unit": unit, "shape": (planes, SIDE, SIDE, 1)})
    (plan,) = manifest.outputs
    target = plan.targets[0].model_copy(update={"temperature": 2.0})
    outputs = (plan.model_copy(update={"targets": (target,)}),)
    manifest = manifest.model_copy(update={"input": given, "outputs": outputs})
    block = keras.Input(given.shape)
    bright = keras.layers.Conv3D(1, 1, activation="relu", name="features")
    pooled = keras.layers.GlobalAveragePooling3D()(bright(block))
    head = keras.layers.Dense(1, activation="sigmoid", name="sphere")
    network = keras.Model(block, head(pooled))
    bright.set_weights([np.ones((1, 1, 1, 1, 1)), np.array([-0.75])])
    head.set_weights([np.array([[4 * planes * SIDE**2 / (64 * 0.25)]]), np.array([bias])])
    return KerasModel(manifest, network)


def test_of_a_sequence_one_image_is_changed_and_the_others_stay():
    (alone,) = Case(counting_squares("sequence", 4, -2), series(4, 2)).measured
    (both,) = Case(counting_squares("sequence", 4, -2), series(4, 1, 2)).measured
    (needed,) = Case(counting_squares("sequence", 4, -6), series(4, 1, 2)).measured
    drops = [named(each)["REGION_DROP"] for each in (alone, both, needed)]
    assert drops == pytest.approx([100, 100 * 4 / 6, 100], abs=2)
    said = [each.explanation.counterfactual for each in (alone, both, needed)]
    assert ["the finding would not be reported" in text for text in said] == [True, False, True]
    assert "the rest of the images keeps it up" in said[1]
    assert named(alone)["DELETION"] < 0.1
    assert named(alone)["INSERTION"] > 0.9
    assert named(alone)["FAITHFULNESS"] > 0.9


def two_squares() -> SourceImages:
    """Of the one frame with squares: the left one lies where no other test has one."""
    images = series(4, 2)
    images.pixels[2, 28:36, 20:28] = BRIGHT
    return images


def test_of_several_places_the_sentence_speaks_of_all_that_were_taken_out():
    case = Case(counting_squares("sequence", 4, -2), two_squares())
    (finding,) = case.measured
    seen = case.seen(finding)
    own = finding.explanation.region.outline
    assert seen.values[28:36, 20:28].min() > 0.5 * seen.values.max() < 2 * seen.values[own].min()
    assert named(finding)["REGION_DROP"] == 100
    assert case.asked.ask(finding, without(seen.image, own)[None])[0] > seen.operating
    told = finding.explanation.counterfactual
    assert told.startswith("Without all places that the map shows strongly on this image alone")
    assert "would not be reported" in told


def untested(name: str) -> ModelManifest:
    """A shipped manifest for another network: nobody tried the maps of that."""
    manifest = open_bundle(BUNDLES / name).manifest
    layer = {"method": "gradcam", "layer": None, "depths": 1}
    plan = manifest.explanation.model_copy(update={**UNTESTED, **layer})
    return manifest.model_copy(update={"explanation": plan})


SURE = VerdictPlan(numbers=(VerdictNumber(name="beyond", weight=-0.1, limit=1),), bias=9)
PASSED = ExplanationCheck(hits=0.9, centre=0, average=0, randomised=0, cases=50)


def test_a_model_whose_maps_were_tested_is_not_said_to_lack_a_test():
    """All of them hit: there was nothing to fit a verdict on."""
    (finding,) = Case(counting_squares("sequence", 4, -2), series(4, 2), check=PASSED).measured
    quality = finding.explanation.quality
    assert (quality.trust, quality.reasons) == (Trust.NOT_MEASURED, (NO_MEASURE,))


@pytest.mark.parametrize(("full_scale", "trust"), [(4.0, "RELIABLE"), (1e6, "CAUTION")])
def test_a_map_that_names_no_place_is_not_called_reliable(full_scale, trust):
    """The verdict was fitted on maps that name one, and would have called it right."""
    plan = {"verdict": SURE, "check": PASSED, "full_scale": full_scale}
    (finding,) = Case(counting_squares("sequence", 4, -2), series(4, 2), **plan).measured
    explanation = finding.explanation
    assert explanation.quality.trust == trust
    assert (explanation.region is None) is (trust == "CAUTION")
    if explanation.region is None:
        assert explanation.saliency.values.any()
        assert explanation.quality.reasons == (FAINT,)
        assert explanation.counterfactual == ""
        assert named(finding) == {}


BEATEN = ExplanationCheck(hits=0.2, centre=0.5, average=0, randomised=0, cases=50)


@pytest.mark.parametrize("squares", [(2,), ()])
def test_no_map_of_a_model_that_failed_its_test_is_evidence(squares):
    """Neither of what is present nor of what is absent; nor does a sentence speak of its place."""
    given = Case(counting_squares("sequence", 4, -2), series(4, *squares), check=BEATEN).analysis
    (finding,) = given.findings
    assert finding.presence is (Presence.PRESENT if squares else Presence.ABSENT)
    explanation = finding.explanation
    assert explanation.withheld
    assert explanation.quality.reasons == (FAILED,)
    assert "the map" not in explanation.counterfactual


def test_of_a_withheld_map_only_the_outline_is_spoken_of(cases):
    """What the model outlined is its own, whatever its map says."""
    (found, *_) = cases("qa-boxes", check=BEATEN).measured
    assert "what the model outlined" in found.explanation.counterfactual


def test_a_number_below_0_falls_by_a_part_of_its_size():
    from workers.keras_model import KerasModel

    manifest = untested("qa-diameter")
    image = keras.Input(manifest.input.shape)
    bright = keras.layers.Conv2D(1, 1, activation="relu")
    pooled = keras.layers.GlobalAveragePooling2D()(bright(image))
    head = keras.layers.Dense(1, name="diameter")
    network = keras.Model(image, head(pooled))
    bright.set_weights([np.ones((1, 1, 1, 1)), np.array([-0.75])])
    head.set_weights([np.array([[30 * SIDE**2 / (64 * 0.25)]]), np.array([-130.0])])
    (estimate,) = Case(KerasModel(manifest, network), series(1, 0)).measured
    assert estimate.measurements[0].value == pytest.approx(-100, abs=1)
    assert named(estimate)["REGION_DROP"] == pytest.approx(30, abs=1)
    assert "is -130 mm, and was -100 mm" in estimate.explanation.counterfactual


def test_every_block_that_shows_the_key_slice_is_asked_again_and_paid_for():
    images = series(9, 4)
    case = Case(counting_squares("volume", 4, -2), images)
    (finding,) = case.measured
    held = case.asked.held(finding)
    assert (held.passes, held.items.count) == (2, 6)  # blocks 2 to 5 and 4 to 7
    seen = case.seen(finding)
    assert case.asked.ask(finding, seen.image[None])[0] == pytest.approx(seen.logit, abs=1e-3)
    assert seen.logit == pytest.approx((4 - 2) / 2, abs=0.1)
    assert named(finding)["REGION_DROP"] == pytest.approx(100, abs=2)
    less = Case(counting_squares("volume", 4, -2), images, passes=40)
    blocks = 4
    assert less.items <= blocks + 3 * held.passes + 40
    assert set(named(less.measured[0])) == CHEAP | MOVED | {"NOISE_SSIM", "NOISE_RANK"}


def test_integrated_gradients_say_how_much_their_map_does_not_add_up_to():
    from explain.gradients import IntegratedGradients, blurred
    from workers.keras_model import KerasModel

    bundle = open_bundle(BUNDLES / "qa-diameter")
    plan = {"method": "integrated-gradients", "layer": None, "measure_passes": 0}
    changed = bundle.manifest.explanation.model_copy(update=plan)
    manifest = bundle.manifest.model_copy(update={"explanation": changed})
    model = KerasModel.load(replace(bundle, manifest=manifest))
    case = Case(model, series(1), passes=0)
    (estimate,) = case.measured
    said = named(estimate)["COMPLETENESS"]
    seen, explainer = case.seen(estimate), model.explainer()
    assert isinstance(explainer, IntegratedGradients)
    found = explainer.explain(seen.image[None], [0])
    gap = np.ptp(case.asked.ask(estimate, np.stack([seen.image, blurred(seen.image)])))
    missing = abs(abs(found.signed.sum()) - gap) / gap
    assert said == pytest.approx(100 * missing, abs=0.2)
    assert 0 < said < 50


def test_an_answer_of_another_output_than_the_explained_one_has_no_map():
    from workers.keras_model import KerasModel

    plans = [untested(name) for name in ("qa-diameter", "qa-inserts")]
    outputs = tuple(plan.outputs[0] for plan in plans)
    manifest = plans[0].model_copy(update={"outputs": outputs})
    image = keras.Input(manifest.input.shape)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(image))
    heads = [(1, "diameter", "linear"), (3, "kinds", "sigmoid")]
    said = [keras.layers.Dense(n, activation=a, name=name)(pooled) for n, name, a in heads]
    analysis = Case(KerasModel(manifest, keras.Model(image, said)), series(1), passes=0).analysis
    assert [finding.explanation for finding in analysis.findings] == [None] * 3
    assert all(estimate.explanation is not None for estimate in analysis.estimates)
