"""``dicom-worker package``, ``sign`` and ``check``: what a maker of models does with a bundle."""

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dicom_node.catalog import CLASSICAL
from dicom_node.doctor import Check, Health
from dicom_node.domain.card import Learnt
from dicom_node.settings.sources import load_settings
from dicom_node.signing import is_encrypted, read_private_key
from workers.console import Bars, console, print_figures
from workers.options import CasesOption, FoldOption, RenameOption, SpacingOption, question
from workers.written import read_text

if TYPE_CHECKING:
    from dicom_node.domain.images import SourceImages
    from dicom_node.domain.manifest import ModelManifest
    from workers.arrays import Arrays
    from workers.training.evaluation.run import Question
    from workers.training.settle import Settled

BundleArgument = Annotated[Path, typer.Argument(exists=True, file_okay=False)]
FileOption = Annotated[Path, typer.Option(exists=True, dir_okay=False)]
FolderOption = Annotated[Path, typer.Option(exists=True, file_okay=False)]
ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file.")]
OF_THE_EXAMPLE = (
    "What features add to an answer is told against the images of the example: give --cases to "
    "tell it against those of several patients"
)
NUMBERED = "Classes that are numbers mean: {}; name them as the manifest does, to be sure"
NOT_SETTLED = (
    "Cases settle nothing else of an estimator: its probabilities are as it was taught them"
)
COLORS = {Health.OK: "green", Health.NOTE: "yellow", Health.BAD: "bold red"}


def package(
    model: Annotated[Path, typer.Argument(exists=True, help="A .keras or .skops file.")],
    manifest: FileOption,
    card: FileOption,
    example: FolderOption,
    output: Annotated[Path, typer.Option(help="A new folder for the bundle.")],
    cases: CasesOption = None,
    fold: FoldOption = None,
    rename: RenameOption = None,
    spacing_mm: SpacingOption = None,
) -> None:
    """Make a bundle of a model, its manifest and card, and one series or study as an example.

    The example becomes the golden test: its pixels go into the bundle, so take none of a patient
    who has not agreed. With cases that the model was not trained on, its probabilities are
    calibrated and the answers that they leave open fitted, the explanation method and layer are
    taken that point best, the verdict on maps is fitted, and what the images look like is learnt:
    without them no map is called reliable, and no image strange. All is measured on other patients.
    """
    from dicom_node.catalog import parse_manifest
    from dicom_node.send.command import dicom_files
    from workers.card import completed, refuse_silent
    from workers.packaging import package_file, read_example, refuse_full

    warnings.simplefilter("ignore")
    refuse_full(output)
    text, words, reference = read_text(manifest), read_text(card), None
    plan = parse_manifest(text.encode(), output)
    refuse_silent(words)
    images = read_example(dicom_files(example), plan)
    if model.suffix == Path(CLASSICAL).suffix:
        asked = question(cases, fold, rename, spacing_mm) if cases else None
        reference = _background(plan, images, asked)
    elif cases is not None:
        from workers.training.settled_text import measured_text
        from workers.training.text import with_learnt

        settled = _settled(model, text, question(cases, fold, rename, spacing_mm))
        text = with_learnt(settled.manifest, [_learnt(cases, fold)])
        reference = settled.reference
        words = completed(words, measured_text(settled.measured)) if settled.measured else words
    bundle = package_file(output, model, text, words, images, reference)
    console.print(f"{bundle.id} in {output}, {bundle.sha256[:12]}", highlight=False)
    if model.suffix == Path(CLASSICAL).suffix:
        for note in _of_an_estimator(bundle.manifest, cases):
            console.print(f"  {note}", highlight=False)


def _of_an_estimator(manifest: "ModelManifest", cases: Path | None) -> list[str]:
    plan = manifest.classification
    labels = [*manifest.targets, plan.rest] if plan else []
    named = (f"{n} {getattr(each, 'label', each)}" for n, each in enumerate(labels) if each)
    return [NUMBERED.format(", ".join(named)), NOT_SETTLED if cases else OF_THE_EXAMPLE]


def _background(
    manifest: "ModelManifest", example: "SourceImages", asked: "Question | None"
) -> "Arrays":
    """Of an estimator: what the features of an image are told against."""
    from workers.classical.background import MOST, background
    from workers.training.evaluation.run import asked_about
    from workers.training.masked import Cases

    if asked is None:
        return background(manifest, [example])
    cases = Cases(asked_about(asked), asked.spacing_mm).thinned(MOST)
    with Bars() as show:
        read = cases.images(manifest.input, lambda part: show("features of the cases", part))
        return background(manifest, (images for _, images in read))


def _learnt(cases: Path, fold: list[str] | None) -> Learnt:
    return Learnt(data=cases.resolve().name, folds=tuple(sorted(fold or ())), use="choosing")


def _settled(model: Path, manifest: str, asked: "Question") -> "Settled":
    from workers.training.evaluation.run import asked_about, words
    from workers.training.masked import Cases
    from workers.training.settle import load_network, settle

    cases = Cases(asked_about(asked), asked.spacing_mm)
    with Bars() as show:
        settled = settle(manifest, load_network(model), cases, words(asked), show)
    for each in settled.compared:
        console.print(f"  {each.name}: {each.hits:.2f} of {each.cases} maps hit", highlight=False)
    for note in settled.notes:
        console.print(f"  {note}", highlight=False)
    print_figures(settled.figures)
    return settled


def check(
    bundle: BundleArgument,
    study: Annotated[
        Path | None, typer.Option(exists=True, help="DICOM files; else the golden input.")
    ] = None,
    cases: CasesOption = None,
    fold: FoldOption = None,
    rename: RenameOption = None,
    spacing_mm: SpacingOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="For a machine.")] = False,
    config: ConfigOption = None,
) -> None:
    """Check all of a bundle on this machine; exit status 1 unless everything passes.

    Schema, signature, golden test, objects, report, explanations (random weights, planted lesions),
    time and peak memory; with cases, every method and layer by how often it names the right place,
    random weights, shuffled labels.
    """
    from workers.check import check_bundle

    asked = question(cases, fold, rename, spacing_mm) if cases else None

    warnings.simplefilter("ignore")
    with Bars(Console(stderr=True)) as show:
        checks = list(check_bundle(bundle, study, load_settings(config), show, asked))
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in checks], indent=2))
    else:
        _print(checks)
    if any(each.health is Health.BAD for each in checks):
        raise typer.Exit(1)


def _print(checks: list[Check]) -> None:
    table = Table(show_edge=False, pad_edge=False)
    for column in ("what", "", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for each in checks:
        mark = Text(str(each.health), COLORS[each.health])
        table.add_row(Text(each.what), mark, Text(each.found), Text(each.advice))
    console.print(table)


def sign(
    bundle: BundleArgument,
    key: Annotated[Path, typer.Option(exists=True, help="An Ed25519 private key in PEM.")],
) -> None:
    """Sign a bundle, so that hospitals can see from whom it is.

    Make a key with `openssl genpkey -algorithm ed25519 -out KEY.pem`, and give the hospital what
    `openssl pkey -in KEY.pem -pubout` says: it goes into models.trusted_keys.
    """
    from workers.bundle import sign_bundle

    passphrase = typer.prompt("Passphrase", hide_input=True) if is_encrypted(key) else None
    sign_bundle(bundle, read_private_key(key, passphrase))
    console.print(f"{bundle} is signed with {key.name}", highlight=False)
