"""``dicom-node verify``: what is not as the ledger says, in a table."""

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from dicom_node.ledger import Ledger
from dicom_node.store import InstanceStore
from dicom_node.verify import verify


def show_problems(ledger: Ledger, store: InstanceStore, console: Console) -> bool:
    """Hash everything and print what is wrong; whether anything is."""
    table, done = _problem_table(), 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("hashing", total=None)

        def advance(files: int, total: int) -> None:
            nonlocal done
            done = files
            progress.update(task, completed=files, total=total)

        for problem in verify(ledger, store, advance):
            filed = problem.filed
            name = filed.sop_instance_uid or (f"report of {filed.job_id}" if filed.job_id else "")
            table.add_row(problem.wrong, name, filed.sha256 or filed.pack, problem.advice)
    if table.row_count:
        console.print(table)
    console.print(f"{done} files hashed, {table.row_count} not as the ledger says", markup=False)
    return table.row_count > 0


def _problem_table() -> Table:
    table = Table(show_edge=False, pad_edge=False)
    for column in ("what", "whose", "sha256", "what to do"):
        table.add_column(column, overflow="fold")
    return table
