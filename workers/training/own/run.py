"""The whole way of ``dicom-worker train own``; what is wrong is said before anything long."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from dicom_node.domain.card import Learnt
from dicom_node.domain.images import SourceImages
from dicom_node.send.command import dicom_files
from workers.keras_model import KerasModel
from workers.packaging import read_example, refuse_full
from workers.progress import Progress, silent
from workers.training.checkpoint import Checkpoint
from workers.training.dataset import Example
from workers.training.evaluation.run import Question, asked_about
from workers.training.own.data import Split, divided
from workers.training.own.finish import Finishing, Trained
from workers.training.own.fit import Fitted, fit
from workers.training.own.lesson import Lesson, collect, read_through, refuse_one_sided
from workers.training.own.losses import losses
from workers.training.own.network import Seen, build
from workers.training.own.recipe import Plan, read_recipe
from workers.training.own.text import without_figures
from workers.training.text import with_learnt
from workers.written import refuse_no_folder


def train_own(
    recipe: Path,
    output: Path,
    question: Question,
    state: Path,
    *,
    seed: int | None = None,
    progress: Progress = silent,
    tell: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Train as a recipe says on a group's own data, and write the bundle.

    ``state`` keeps how far the training has come, until the bundle is written; ``seed`` is in place
    of the recipe's; ``tell`` hears at the start what the folds lack. Raises ConfigurationError for
    whatever the recipe, the table or the folders do not allow, and UnsupportedModel for maps that
    its network does not give.
    """
    plan = _seeded(read_recipe(recipe), seed)
    refuse_full(output)
    refuse_no_folder(state)
    examples = asked_about(question, labelled=bool(plan.manifest.targets))
    split = divided(examples, plan.recipe.folds, plan.manifest)
    for note in split.notes:
        tell(note)
    _refuse_unservable(plan)
    example = _example(plan)
    lesson, choosing = _lessons(plan, split, question, progress)
    keras.utils.set_random_seed(plan.recipe.training.seed)
    network = build(plan, Seen(float(lesson.images.mean()), float(lesson.images.std())))
    checkpoint = Checkpoint(state / "state.npz", _named(plan, network, (lesson, choosing)))
    fitted = fit(network, plan, lesson, choosing, checkpoint, progress)
    draft = without_figures(plan.text, _told(plan, split, lesson, fitted))
    draft = with_learnt(draft, _learnt(plan, question))
    done = Finishing(plan, split, question, network, draft, example, progress).write(output)
    checkpoint.path.unlink(missing_ok=True)
    return done


def _seeded(plan: Plan, seed: int | None) -> Plan:
    if seed is None:
        return plan
    training = plan.recipe.training.model_copy(update={"seed": seed})
    return replace(plan, recipe=plan.recipe.model_copy(update={"training": training}))


def _example(plan: Plan) -> SourceImages | None:
    """What becomes the golden test. Raises what reading a series raises."""
    folder = plan.recipe.example
    return None if folder is None else read_example(dicom_files(plan.home / folder), plan.manifest)


def _refuse_unservable(plan: Plan) -> None:
    """Raise what a bundle of this network would raise, were it trained."""
    network = build(plan, Seen())
    KerasModel(plan.manifest, network)
    losses(network, plan.manifest)


def _lessons(
    plan: Plan, split: Split, question: Question, progress: Progress
) -> tuple[Lesson, Lesson]:
    lesson, choosing = (
        collect(each, plan.manifest, question.spacing_mm, progress, what)
        for each, what in ((split.train, "to train on"), (split.choose, "to choose on"))
    )
    refuse_one_sided(lesson, plan.manifest)
    read_through(split.test, plan.manifest, question.spacing_mm, progress)
    return lesson, choosing


def _named(plan: Plan, network: keras.Model, lessons: Sequence[Lesson]) -> str:
    """What is trained: another recipe, seed, data, or network to start from is another training.

    Of the manifest what is asked for: what a person writes on the card changes no weight.
    """
    settings = plan.recipe.model_dump_json(include={"network", "training", "augment"})
    asked = plan.manifest.model_dump_json(include={"input", "outputs"})
    digest = hashlib.sha256(repr((settings, asked)).encode())
    for lesson in lessons:
        for values in (lesson.images, *lesson.answers.values()):
            digest.update(np.ascontiguousarray(values).data)
    for weights in network.get_weights():
        digest.update(np.ascontiguousarray(weights).data)
    return f"recipe {digest.hexdigest()[:12]}, seed {plan.recipe.training.seed}"


def _told(plan: Plan, split: Split, lesson: Lesson, fitted: Fitted) -> str:
    """For the card: what was trained and chosen on."""
    wanted = plan.recipe.network
    name = f"what {wanted.start} held" if wanted.start else f"random weights ({wanted.backbone})"
    return (
        f"Trained from {name} on {len(lesson.images)} slices of {_cases(split.train)}; the weights "
        f"are those of epoch {fitted.best_epoch} of {fitted.epochs}, which answered "
        f"{_cases(split.choose)}, of other patients{_assumed(split)}, best (loss "
        f"{fitted.loss:.3f}). Seed {plan.recipe.training.seed}."
    )


def _learnt(plan: Plan, question: Question) -> list[Learnt]:
    folds, data = plan.recipe.folds, question.data.resolve().name
    return [
        Learnt(data=data, folds=folds.train, use="training"),
        Learnt(data=data, folds=folds.choose, use="choosing"),
    ]


def _assumed(split: Split) -> str:
    """What is not known of the split, where the data leaves it out."""
    unknown = split.unknown
    return f" as far as the folds say ({unknown} cases name no patient)" if unknown else ""


def _cases(examples: Sequence[Example]) -> str:
    patients = {each.patient for each in examples} - {None}
    return f"{len(examples)} cases" + (f" of {len(patients)} patients" if patients else "")
