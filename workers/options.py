"""Options that several commands have: which cases of a data set, and how they are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from workers.training.evaluation.run import Question

FoldOption = Annotated[list[str] | None, typer.Option(help="Only these; all without it.")]
RenameOption = Annotated[
    list[str] | None, typer.Option(help="A label of the data as the bundle's: old=new.")
]
SpacingOption = Annotated[
    float | None, typer.Option(help="Of image files whose table has no spacing_mm.")
]
CasesOption = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        help="A folder with data.csv, images and masks of what is to be found in them.",
    ),
]


def question(
    data: Path, fold: Sequence[str] | None, rename: Sequence[str] | None, spacing_mm: float | None
) -> "Question":
    """Raises ConfigurationError for a ``rename`` that is not ``old=new``."""
    from workers.training.evaluation.run import Question

    return Question(data, frozenset(fold or ()), dict(map(_pair, rename or ())), spacing_mm)


def _pair(text: str) -> tuple[str, str]:
    old, found, new = text.partition("=")
    if not found:
        raise ConfigurationError(f"--rename {text}: write old=new")
    return old, new
