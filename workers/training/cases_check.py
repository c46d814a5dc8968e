"""For ``dicom-worker check --cases``: how the maps of a bundle do on cases with masks."""

from collections.abc import Iterator, Sequence
from functools import partial

from dicom_node.catalog import WEIGHTS, BundleFolder
from dicom_node.doctor import Check, Health
from dicom_node.domain.trust import ExplanationCheck
from workers.bundle import reference_of
from workers.keras_model import KerasModel
from workers.progress import Progress
from workers.sanity import words_of
from workers.training.localise import Found, compared
from workers.training.masked import Cases, checked, lesson_of
from workers.training.settle import attempts, fit_for_it, load_network

CLOSE = 0.02
"""Of the maps: methods that hit so much more often are better."""


def check_cases(bundle: BundleFolder, cases: Cases, progress: Progress) -> Iterator[Check]:
    """Methods against each other; the bundle's own against baselines, random weights and labels.

    Raises ConfigurationError where ``settle`` does.
    """
    manifest = bundle.manifest
    cases = fit_for_it(manifest, cases)
    network = load_network(bundle.path / WEIGHTS)
    found = compared(
        manifest,
        lambda candidate: KerasModel(candidate, network),
        attempts(cases, progress),
    )
    yield _methods(bundle, found)
    model = KerasModel(manifest, network, reference_of(bundle))
    tries = cases.tries(model, partial(progress, "maps"))
    if not tries:
        advice = "look at the operating points, or at what the cases show"
        yield Check("maps of the cases", Health.BAD, "no map names a place", advice)
        return
    lesson = lesson_of(model, cases, partial(progress, "slices"))
    yield _maps(checked(model, network, tries, lesson, progress))


def _methods(bundle: BundleFolder, found: Sequence[Found]) -> Check:
    own = next(each for each in found if each.plan == bundle.manifest.explanation)
    better = found[0].hits > own.hits + CLOSE
    return Check(
        "methods by their hits",
        Health.NOTE if better else Health.OK,
        "; ".join(
            f"{each.name}{' (its own)' if each is own else ''}: {each.hits:.2f}" for each in found
        ),
        f"package it with these cases, to take {found[0].name}" if better else "",
    )


def _maps(check: ExplanationCheck) -> Check:
    found = words_of(check)
    if check.passed:
        return Check("maps of the cases", Health.OK, found)
    advice = "these maps are no evidence: try another method or layer, or train with masks"
    return Check("maps of the cases", Health.BAD, found, advice)
