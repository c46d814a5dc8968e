"""``dicom-worker``: run the Celery worker, analyse one study by hand, train and pack models."""

import errno
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from dicom_node.domain.errors import ConfigurationError, DicomNodeError
from dicom_node.settings.sources import load_settings
from workers import bundle_commands, training_commands
from workers.console import Bars, console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Run models on studies. For research; not a medical device.",
)
train_app = typer.Typer(no_args_is_help=True, help="Train a bundle: your own, or one of ours.")
app.add_typer(train_app, name="train")
train_app.command()(training_commands.own)
train_app.command()(training_commands.brain_mr_tumour)
train_app.command()(training_commands.task)
for command in (
    training_commands.evaluate,
    bundle_commands.package,
    bundle_commands.check,
    bundle_commands.sign,
):
    app.command()(command)

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file; DICOM_NODE__SECTION__KEY overrides it."),
]


def main() -> None:
    """Entry point: every error of ours is one line, and exit status 2 for wrong settings.

    So is what the system refuses.
    """
    try:
        app()
    except DicomNodeError as error:
        print(f"dicom-worker: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
    except OSError as error:
        if error.filename is None and error.errno not in NO_ROOM:
            raise
        where = f"{error.filename}: " if error.filename else ""
        advice = "look at the disk, and at who may read and write there"
        print(f"dicom-worker: {where}{error.strerror}; {advice}", file=sys.stderr)  # noqa: T201
        sys.exit(1)


@app.command()
def run(
    queues: Annotated[str, typer.Option(help="analyse, deliver, or both.")] = "analyse,deliver",
    config: ConfigOption = None,
) -> None:
    """Take jobs from the broker until told to stop."""
    from workers.app import run_worker

    sys.exit(run_worker(load_settings(config), queues.split(",")))


@app.command()
def analyse(
    path: Annotated[Path, typer.Argument(exists=True, help="A folder of DICOM files.")],
    bundle: Annotated[str, typer.Option(help="A bundle folder, or name@version of a shipped one.")],
    output: Annotated[Path, typer.Option(help="Where results and report go.")],
    config: ConfigOption = None,
) -> None:
    """Analyse one study with one model: no PACS, no broker, no ledger."""
    from workers.by_hand import analyse_folder, find_bundle

    warnings.simplefilter("ignore")
    settings = load_settings(config)
    with Bars() as show:
        done = analyse_folder(path, find_bundle(bundle, settings), output, settings, show)
    table = Table(show_edge=False, pad_edge=False)
    for column in ("file", "bytes"):
        table.add_column(column, justify="right" if column == "bytes" else "left")
    for file in done.files:
        table.add_row(str(file), f"{file.stat().st_size:,}")
    console.print(table)
    console.print(done.line, style="bold", highlight=False)


@app.command()
def explain(
    path: Annotated[Path, typer.Argument(exists=True, help="A folder of DICOM files.")],
    bundle: Annotated[str, typer.Option(help="A bundle folder, or name@version of a shipped one.")],
    output: Annotated[Path, typer.Option(help="Where the figures go.")],
    config: ConfigOption = None,
) -> None:
    """Draw one figure a finding, for research: the map, its curves, and all methods in a row."""
    from workers.by_hand import find_bundle
    from workers.figures import explain_folder

    warnings.simplefilter("ignore")
    settings = load_settings(config)
    with Bars() as show:
        for page in explain_folder(path, find_bundle(bundle, settings), output, settings, show):
            console.print(str(page), highlight=False)


@train_app.command()
def phantom(
    output: Annotated[Path, typer.Argument(help="A new folder for the bundle.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same figures.")] = 0,
) -> None:
    """Train phantom-lesion on synthetic CT phantoms: minutes on two cores."""
    from workers.training.phantom_lesion import train_phantom

    started = datetime.now(UTC)
    with Bars() as show:
        bundle = train_phantom(output, seed, show)
    minutes = (datetime.now(UTC) - started).total_seconds() / 60
    console.print(f"{bundle.id} in {output}, {minutes:.1f} minutes", highlight=False)
    for row in bundle.manifest.card.performance:
        console.print(
            f"  {row.title}: {row.value:.3f} ({row.low:.3f} to {row.high:.3f}), {row.cases} cases",
            highlight=False,
        )
