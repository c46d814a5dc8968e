"""From a bundle and a data set to the page: what ``dicom-worker evaluate`` does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dicom_node.catalog import BundleFolder
from dicom_node.domain.errors import ConfigurationError
from workers.loading import load_model
from workers.model import Model
from workers.progress import Progress
from workers.training.dataset import Example, read_data
from workers.training.evaluation.cases import look
from workers.training.evaluation.learnt import learnt
from workers.training.evaluation.page import evaluate, page
from workers.training.evaluation.scope import Scope, foreign, inside, known_to, owners, scope
from workers.training.evaluation.seen import Seen
from workers.training.measures import Figure
from workers.written import refuse_unwritable


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be measured."""

    data: Path
    folds: frozenset[str] = frozenset()
    """Empty: all of them."""
    names: Mapping[str, str] | None = None
    """Labels of the data by those that the bundle has."""
    spacing_mm: float | None = None
    out_of_scope: Path | None = None


def run(
    bundle: BundleFolder,
    question: Question,
    output: Path,
    progress: Progress,
    tell: Callable[[str], None] = lambda _: None,
) -> Mapping[str, Figure]:
    """Write the page; returns the figures of all cases.

    ``tell`` hears first whether the bundle is made of these cases.

    Raises ConfigurationError for data without cases, what ``read_data`` and ``look`` raise, and
    what loading the bundle raises.
    """
    refuse_unwritable(output)
    if output.is_dir():
        raise ConfigurationError(f"{output} is a folder: name the page, such as evaluation.html")
    examples = asked_about(question, labelled=bool(bundle.manifest.targets))
    known = learnt(bundle.manifest.card, question.data.resolve().name, examples)
    tell(known)
    model = load_model(bundle)
    if question.out_of_scope is not None:
        known_to(model)
    seen = list(look(model, examples, spacing_mm=question.spacing_mm, progress=progress))
    scoped = _scope(model, question, seen, progress)
    found = evaluate(bundle, words(question), seen, scoped, known)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page(found), "utf-8")
    return {**found.figures, **(found.scope.figures if found.scope else {})}


def asked_about(question: Question, *, labelled: bool = True) -> Sequence[Example]:
    """The cases of its folds; see ``read_data``. Raises ConfigurationError where there are none."""
    names, every = question.names or {}, read_data(question.data, labelled=labelled)
    chosen = [e for e in every if not question.folds or e.fold in question.folds]
    if not chosen:
        raise ConfigurationError(
            f"{question.data} has no cases in the folds {', '.join(sorted(question.folds))}"
        )
    return [replace(e, labels=frozenset(names.get(n, n) for n in e.labels)) for e in chosen]


def words(question: Question) -> str:
    """What the cases are called."""
    folds = f", fold {', '.join(sorted(question.folds))}" if question.folds else ""
    return f"{question.data.resolve().name}{folds}"


def _scope(
    model: Model, question: Question, seen: Sequence[Seen], progress: Progress
) -> Scope | None:
    if question.out_of_scope is None:
        return None
    found = list(foreign(model, question.out_of_scope, progress))
    return scope(inside(seen), found, owners(seen))
