"""What packaging with cases settles of a model: its probabilities, how it is explained, how far to
believe that, and what images it knows.

Each is fitted on every other patient; the rest say how well it does. What the cases do not allow is
left as it was, and said in a line.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras

from dicom_node.catalog import CLASSICAL
from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.manifest import ExplanationPlan, ModelManifest
from dicom_node.domain.trust import ExplanationCheck, VerdictPlan
from explain.gradcam import WEIGHTINGS
from workers.arrays import Arrays
from workers.heads import heads
from workers.keras_model import KerasModel, read_network
from workers.model import Model
from workers.progress import Progress, silent
from workers.sanity import words_of
from workers.training.certainty import UNSEEN, Certain, Halves, certain
from workers.training.evaluation.truth import refuse_without
from workers.training.heard import hear
from workers.training.localise import Found, Try, compared, with_own_bar
from workers.training.masked import Cases, trust
from workers.training.measures import Figure, Measured
from workers.training.reference import reference
from workers.training.settled_text import written
from workers.training.trying import Tried, named

FEWEST_PATIENTS = 4
LIMIT_IN_TURN = "{}: of the patients who set the limit, each half by the limit of the other"
NO_VERDICT = "No verdict on single maps was fitted: of the maps to fit it on all hit, or none does"
LEFT = "The maps of {} failed their check: the best method of one pass was taken"


@dataclass(frozen=True)
class Settled:
    """A manifest that says what was measured, and what goes into the bundle beside it."""

    manifest: str
    reference: Arrays
    compared: Sequence[Found]
    """The methods, the best first: it is the one in the manifest, unless it costs many passes and
    its maps failed their check. None without masks."""
    measured: Sequence[Measured]
    """What stands on the card."""
    notes: Sequence[str]
    """A line for each thing that was settled, or why it was not."""

    @property
    def figures(self) -> Mapping[str, Figure]:
        """All that was measured, by name."""
        return {name: figure for each in self.measured for name, figure in each.figures.items()}


@dataclass(frozen=True)
class _Mapped:
    """How a model is explained."""

    plans: Sequence[ExplanationPlan]
    """The first whose maps pass their check is taken, or else the last."""
    found: Sequence[Found] = ()
    note: str = ""


def settle(
    manifest: str, network: keras.Model, cases: Cases, data: str, progress: Progress = silent
) -> Settled:
    """``manifest`` is the text of ``manifest.toml``; ``data`` is what the cases are called.

    What the text says of calibration, open answers, method, layer, colour bar, verdict and check is
    written anew where cases tell; the rest, comments too, stays. Raises ConfigurationError for
    labels that are none of the model's, and where the cases settle nothing at all: then it says why
    maps were not measured.
    """
    draft = ModelManifest.model_validate(tomllib.loads(manifest))
    refused = _no_maps(draft, cases)
    if refused is not None and not draft.targets:
        raise refused
    if draft.targets:
        refuse_without(draft, cases.examples)
    to_fit, to_test = cases.halves()
    sure = _sure(draft, network, to_fit, to_test, data, progress)
    known = _mapped(sure.manifest, network, to_fit, refused, progress)
    for plan in known.plans:
        chosen = sure.manifest.model_copy(update={"explanation": plan})
        images = reference(KerasModel(chosen, network), to_fit, to_test, progress)
        judged = None
        if refused is None:
            model = KerasModel(chosen, network, images.arrays)
            judged = trust(model, network, to_fit.with_masks, to_test.with_masks, progress)
            chosen = _judged(draft, chosen, judged.verdict, judged.check)
        if (check := chosen.explanation.check) is None or check.passed:
            break
    measured = [
        *sure.measured,
        Measured(judged.figures if judged else {}, UNSEEN.format(data)),
        Measured(images.figures, LIMIT_IN_TURN.format(data)),
    ]
    measured = [each for each in measured if each.figures]
    if refused is not None and not measured and chosen == draft:
        raise refused
    notes = [*sure.notes, *([known.note] if known.note else []), images.note]
    if judged is not None:
        if len(known.plans) > 1 and chosen.explanation.method != known.plans[0].method:
            notes.append(LEFT.format(known.plans[0].method))
        notes += _told(chosen.explanation)
    return Settled(written(manifest, chosen, measured), images.arrays, known.found, measured, notes)


def fit_for_it(manifest: ModelManifest, cases: Cases) -> Cases:
    """Those with masks. Raises ConfigurationError where their maps cannot be measured."""
    plan = manifest.explained
    if plan is None:
        raise ConfigurationError(
            f"{manifest.id} names no finding and measures no number that a map explains, and cases "
            "say where those are: package it without cases"
        )
    with_masks = cases.with_masks
    patients = len(with_masks.patients)
    if patients < FEWEST_PATIENTS:
        raise ConfigurationError(
            f"there are masks of {patients} patients: maps are measured on at least "
            f"{FEWEST_PATIENTS}; add a column mask to the table, or package without cases"
        )
    if not any(named(plan.labels, example.labels).any() for example in with_masks.examples):
        raise ConfigurationError(
            f"no case with a mask is labelled {' or '.join(plan.labels)}, as {manifest.id} calls "
            "it: correct the table, or give --rename"
        )
    return with_masks


def load_network(weights: Path) -> keras.Model:
    """A file that Keras saved, under all checks of a bundle's; see ``read_network``.

    Raises ConfigurationError for an estimator and for a folder, and CorruptBundle for what a bundle
    may not hold.
    """
    if weights.suffix == Path(CLASSICAL).suffix or not weights.is_file():
        raise ConfigurationError(
            "cases settle what a .keras file says: package other models without cases"
        )
    return read_network(weights)


def attempts(cases: Cases, progress: Progress) -> Try:
    """The maps of a model on some of the cases, unweighed."""

    def attempt(model: Model, count: int) -> list[Tried]:
        costly = model.manifest.explanation.method not in WEIGHTINGS
        what = "costly methods compared" if costly else "methods compared"
        return cases.thinned(count).tries(model, partial(progress, what), weighed=False)

    return attempt


def _no_maps(manifest: ModelManifest, cases: Cases) -> ConfigurationError | None:
    try:
        fit_for_it(manifest, cases)
    except ConfigurationError as error:
        return error
    return None


def _sure(
    manifest: ModelManifest,
    network: keras.Model,
    to_fit: Cases,
    to_test: Cases,
    data: str,
    progress: Progress,
) -> Certain:
    """Of probabilities; they are asked for without maps, which cost time."""
    plan = manifest.classification or manifest.detection
    if plan is None or not to_test.examples:
        return Certain(manifest, [], [])
    silenced = manifest.explanation.model_copy(update={"method": "none"})
    model = KerasModel(manifest.model_copy(update={"explanation": silenced}), network)
    one, other = (
        hear(model, half, partial(progress, what))
        for half, what in ((to_fit, "calibration, fitted"), (to_test, "calibration, measured"))
    )
    shared = heads(network, manifest)[plan.kind].exclusive
    return certain(manifest, Halves(one, other, shared), data)


def _mapped(
    manifest: ModelManifest,
    network: keras.Model,
    to_fit: Cases,
    refused: ConfigurationError | None,
    progress: Progress,
) -> _Mapped:
    """The method that points best, with a colour bar of its own; or the author's.

    Behind one of many passes stands the best of one pass: maps of input gradients may hit well, and
    hardly change when the weights do.
    """
    if refused is not None:
        return _Mapped([manifest.explanation], note=f"No map was measured: {refused}")
    found = compared(
        manifest,
        lambda candidate: KerasModel(candidate, network),
        attempts(to_fit.with_masks, progress),
    )
    of_one_pass = [each for each in found if each.plan.method in WEIGHTINGS]
    best = found[:1] if found[0] in of_one_pass else [found[0], *of_one_pass[:1]]
    return _Mapped([with_own_bar(each) for each in best], found)


def _told(plan: ExplanationPlan) -> Iterator[str]:
    """How the maps of other patients did."""
    if plan.check is None:
        yield "No map of the other patients names a place: look at the operating points"
        return
    failed = "" if plan.check.passed else "; they failed: no map will be shown as evidence"
    yield f"Maps of the other patients: {words_of(plan.check)}{failed}"
    if plan.verdict is None:
        yield NO_VERDICT


def _judged(
    draft: ModelManifest,
    chosen: ModelManifest,
    verdict: VerdictPlan | None,
    check: ExplanationCheck | None,
) -> ModelManifest:
    """With verdict and check; the limits that the author set for them stay."""
    set_for = draft.explanation
    if verdict is not None and set_for.verdict is not None:
        limits = set_for.verdict.model_dump(include={"reliable", "not_reliable"})
        verdict = verdict.model_copy(update=limits)
    if check is not None and set_for.check is not None:
        limits = set_for.check.model_dump(include={"margin", "similar"})
        check = check.model_copy(update=limits)
    plan = chosen.explanation.model_copy(update={"verdict": verdict, "check": check})
    return chosen.model_copy(update={"explanation": plan})
