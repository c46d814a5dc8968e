"""``dicom-worker train own``, ``brain-mr-tumour``, ``task``, and ``evaluate``: data to bundles."""

import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.domain.errors import ConfigurationError
from dicom_node.settings.sources import load_settings
from workers.console import Bars, console, print_figures
from workers.options import FoldOption, RenameOption, SpacingOption, question

INTERRUPTED = 130
"""Exit status of what Ctrl-C ends, as shells have it."""

FolderArgument = Annotated[Path, typer.Argument(help="A new folder for the bundle.")]
DataOption = Annotated[
    Path,
    typer.Option(exists=True, file_okay=False, help="A folder with data.csv beside its images."),
]

StateOption = Annotated[
    Path | None,
    typer.Option(help="Where the training goes on from when it was stopped: OUTPUT-state."),
]
OutOfScopeOption = Annotated[
    Path | None,
    typer.Option(exists=True, help="DICOM files that the bundle is not for: are they noticed?"),
]


def brain_mr_tumour(
    output: FolderArgument,
    data: DataOption,
    state: StateOption = None,
    seed: Annotated[int, typer.Option(help="Another seed gives other figures, much alike.")] = 0,
    out_of_scope: OutOfScopeOption = None,
) -> None:
    """Train brain-mr-tumour on folds 1 to 3 of brain-tumour-cheng: an hour on two cores."""
    from workers.training.brain.recipe import train_brain

    started = datetime.now(UTC)
    with Bars() as show:
        bundle = train_brain(
            output, data, _home(state, output), seed=seed, out_of_scope=out_of_scope, progress=show
        )
    minutes = (datetime.now(UTC) - started).total_seconds() / 60
    console.print(f"{bundle.id} in {output}, {minutes:.1f} minutes", highlight=False)
    print_figures({row.title: row for row in bundle.manifest.card.performance})


def task(
    name: Annotated[str, typer.Argument(help="Such as qa-boxes; a wrong one lists all.")],
    output: FolderArgument,
    seed: Annotated[int, typer.Option(help="The same seed gives much the same figures.")] = 0,
) -> None:
    """Train the small bundle of a task on synthetic phantoms: a minute or a few on two cores."""
    from workers.training.tasks import MODULES, recipe_of

    if name not in MODULES:
        raise ConfigurationError(f"there is no recipe {name}; there are: {', '.join(MODULES)}")
    with Bars() as show:
        bundle = recipe_of(name).train(output, seed, show)
    print_figures({row.title: row for row in bundle.manifest.card.performance})


def own(
    recipe: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A TOML file.")],
    output: FolderArgument,
    data: DataOption,
    state: StateOption = None,
    seed: Annotated[int | None, typer.Option(help="In place of the recipe's.")] = None,
    rename: RenameOption = None,
    spacing_mm: SpacingOption = None,
) -> None:
    """Train your own network on your own data: classify, measure or outline single slices.

    A recipe points to the manifest.toml of the bundle, which says what the network reads and in
    which codes it answers, and adds what only training needs: folds, network, training, augment.
    All of it has defaults, so that an empty file is a recipe. The data is as for evaluate, each
    patient in one fold, or in none: then patients are shared out. README shows an example.

    Stop it with Ctrl-C at any time: the same command goes on from its last epoch.
    """
    from workers.training.own.run import train_own

    warnings.simplefilter("ignore")
    asked, home = question(data, None, rename, spacing_mm), _home(state, output)
    try:
        with Bars() as show:
            done = train_own(recipe, output, asked, home, seed=seed, progress=show, tell=_tell)
    except KeyboardInterrupt:
        console.print(f"Stopped. The same command goes on from the last epoch in {home}.")
        raise typer.Exit(INTERRUPTED) from None
    console.print(f"{done.bundle.id} in {output}", highlight=False)
    print_figures({row.title: row for row in done.bundle.manifest.card.performance})
    for note in done.notes:
        console.print(note, highlight=False)


def _tell(words: str) -> None:
    console.print(words, highlight=False)


def _home(state: Path | None, output: Path) -> Path:
    return state or output.parent / f"{output.name}-state"


def evaluate(
    bundle: Annotated[str, typer.Argument(help="A bundle folder, or name@version of one.")],
    data: DataOption,
    output: Annotated[Path, typer.Option(help="The page to write.")] = Path("evaluation.html"),
    fold: FoldOption = None,
    rename: RenameOption = None,
    spacing_mm: SpacingOption = None,
    out_of_scope: OutOfScopeOption = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="TOML file.")] = None,
) -> None:
    """Measure a bundle on a data set, and write one page with figures and intervals.

    The data is a folder with data.csv, a row a case: image (a file, or a folder of DICOM files),
    patient, and what is true. Of targets: label, what the case shows, several with ; between. Of a
    quantity: a column called as it is, with the number. Of segments, boxes and heat maps: mask, the
    same pixels, above 0 where it is; of several segments or boxes the value n is the manifest's
    n-th. Of images that are made: reference, what should be made. Also read where they are there:
    fold, sex, age, manufacturer, slice_thickness.
    """
    from workers.by_hand import find_bundle
    from workers.training.evaluation.run import run

    warnings.simplefilter("ignore")

    asked = replace(question(data, fold, rename, spacing_mm), out_of_scope=out_of_scope)
    with Bars() as show:
        figures = run(find_bundle(bundle, load_settings(config)), asked, output, show, _tell)
    print_figures(figures)
    console.print(str(output), style="bold", highlight=False)
