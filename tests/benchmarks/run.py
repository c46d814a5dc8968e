"""``make bench``: runs the areas beside this file, writes ``bench.json``, prints a table.

An area is a module with ``rows() -> Iterable[Row]``, named in ``AREAS``. Peers and floors run in
the same process run, in turn with what they are compared to; medians of at least five rounds.
"""

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
OUTPUT = HERE.parent.parent / "bench.json"
sys.path[:0] = [str(HERE), str(HERE.parent)]
AREAS = ("analyse", "explanation", "ledger", "receive", "start", "write")


def main() -> None:
    """Run every area, or those that are named."""
    wanted = sys.argv[1:] or AREAS
    unknown = set(wanted) - set(AREAS)
    if unknown:
        sys.exit(f"no area {', '.join(unknown)}; there are: {', '.join(AREAS)}")
    rows = []
    console = Console(width=None if sys.stdout.isatty() else 132)
    for area in wanted:
        with console.status(f"measuring {area}"):
            rows += list(importlib.import_module(area).rows())
    OUTPUT.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    console.print(_table(rows))


def _table(rows) -> Table:
    table = Table(title=str(OUTPUT.name), title_justify="left", pad_edge=False)
    for column in ("name", "value", "unit", "peer", "ratio", "goal"):
        table.add_column(column, justify="right" if column in ("value", "ratio") else "left")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        table.add_row(row.name, f"{row.value:.4g}", row.unit, row.peer or "", ratio, row.goal)
    return table


if __name__ == "__main__":
    main()
