"""How the commands talk: one console, and bars that follow the work."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicom_node.domain.card import Performance
    from workers.training.measures import Figure

console = Console(markup=False)
"""Names of files, labels and titles may hold brackets: nothing that is printed is markup."""


class Bars:
    """A display that follows (what, part) calls; one line for each thing that is done."""

    def __init__(self, shown_on: Console = console) -> None:
        columns = (
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
        )
        self._bars = Progress(*columns, console=shown_on)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._bars.stop()

    def __call__(self, what: str, part: float) -> None:
        """Show which part of a thing is done; what stands behind a comma may change on the way."""
        thing = what.partition(",")[0]
        if thing not in self._tasks:
            self._tasks[thing] = self._bars.add_task(what, total=1.0)
        self._bars.update(self._tasks[thing], description=what, completed=part)


def print_figures(figures: "Mapping[str, Figure | Performance]") -> None:
    """Each with its interval."""
    for name, figure in figures.items():
        console.print(
            f"  {name}: {figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f}), "
            f"{figure.cases} cases",
            highlight=False,
        )
