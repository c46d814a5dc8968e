"""The cases of a data set, divided as a recipe says; what cannot be learnt from is refused."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.manifest import ModelManifest
from workers.training.dataset import Example
from workers.training.evaluation.outlines import measured
from workers.training.evaluation.quantities import quantities, truth
from workers.training.evaluation.truth import MASKS, NUMBERS, refuse_without
from workers.training.own.recipe import Folds

BY_HEADER = ("voi", "monochrome1")
"""Steps that read a DICOM header."""


@dataclass(frozen=True)
class Split:
    """Cases by what they are for; no patient that the data names is in two of them."""

    train: Sequence[Example]
    choose: Sequence[Example]
    test: Sequence[Example]
    notes: tuple[str, ...] = ()
    """What the folds lack, and what is left out, in words."""

    @property
    def unknown(self) -> int:
        """Of how many cases the data does not say who they are of."""
        return sum(e.patient is None for e in (*self.train, *self.choose, *self.test))


def divided(examples: Sequence[Example], folds: Folds, manifest: ModelManifest) -> Split:
    """By fold, before any pixel is read.

    Raises ConfigurationError for folds without cases, labels that the manifest does not know, and
    answers of which the training folds have no example.
    """
    refuse_without(manifest, examples)
    _refuse_headerless(examples, manifest)
    train, choose, test = (_of(examples, name, getattr(folds, name)) for name in Folds.model_fields)
    one_sided = [*_one_sided(manifest, choose, "choose"), *_one_sided(manifest, test, "test")]
    split = Split(train, choose, test, (*_left_out(examples, folds), *one_sided))
    lacking = [what for what in _wanted(manifest, split.train) if what]
    if lacking:
        raise ConfigurationError(
            f"the folds {', '.join(folds.train)}, to train on, lack {'; '.join(lacking)}"
        )
    return split


def _left_out(examples: Sequence[Example], folds: Folds) -> Iterator[str]:
    used = {fold for name in Folds.model_fields for fold in getattr(folds, name)}
    others = [example.fold for example in examples if example.fold not in used]
    if others:
        named = ", ".join(sorted(set(others)))
        yield f"{len(others)} cases are left out: the recipe has no use for fold {named}"


def _one_sided(manifest: ModelManifest, examples: Sequence[Example], use: str) -> Iterator[str]:
    for label in (target.label for target in manifest.targets):
        shown = [label.casefold() in {each.casefold() for each in e.labels} for e in examples]
        if len(set(shown)) == 1:
            yield (
                f"{'all' if shown[0] else 'none'} of the {len(shown)} cases to {use} on show "
                f"{label}: they tell half of how good it is"
            )


def _of(examples: Sequence[Example], name: str, folds: Sequence[str]) -> Sequence[Example]:
    found = [example for example in examples if example.fold in folds]
    if not found:
        there = ", ".join(sorted({example.fold for example in examples}))
        raise ConfigurationError(
            f"no case is in the folds {', '.join(folds)}; the data has {there}: correct "
            f"folds.{name} of the recipe, or the table"
        )
    return found


def _wanted(manifest: ModelManifest, examples: Sequence[Example]) -> Iterator[str]:
    """What must be known of training cases, and is known of none."""
    shown = {label.casefold() for example in examples for label in example.labels}
    for label in (target.label for target in manifest.targets):
        yield "" if label.casefold() in shown else f"a case that shows {label}"
    for quantity in quantities(manifest.regression):
        known = any(truth(quantity, example) is not None for example in examples)
        yield "" if known else NUMBERS.format(quantity.label, quantity.unit.meaning)
    plan = manifest.segmentation
    if plan is not None:
        masks = any(example.mask is not None for example in examples)
        yield "" if masks else MASKS.format(", ".join(each.label for each in plan.segments))
        channels = measured(manifest)
        more = [s.label for n, s in enumerate(plan.segments) if n not in channels]
        yield f"masks of {', '.join(more)}, for masks are of what locates a target" if more else ""


def _refuse_headerless(examples: Sequence[Example], manifest: ModelManifest) -> None:
    reading = [step.step for step in manifest.preprocess if step.step in BY_HEADER]
    bare = next((example for example in examples if not example.image.is_dir()), None)
    if reading and bare is not None:
        raise ConfigurationError(
            f"preprocess: {reading[0]} reads the header of a DICOM image, and {bare.name} has "
            "none: give the data as folders of DICOM files, or take another step, such as window "
            "or clip_percentiles"
        )
