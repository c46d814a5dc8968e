"""Cases before their judges: sources are read once, and every verdict goes into the table."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path

import dressed
import judges
import perfect
import sources
import validators
from matrix import BUNDLES, Table
from orthanc import Orthanc
from perfect import Truth

from dicom_node.domain.analysis import Analysis, ResultInstance
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.findings import Presence
from dicom_node.domain.manifest import ModelManifest
from dicom_node.testing.study import save_study
from reports.part10 import dataset_bytes

Row = tuple[str, str, str]
"""Bundle, source, state."""


class Court:
    """The judges, the sources that were read, and the table."""

    def __init__(self, pacs: Orthanc, tool: validators.Tool, folder: Path) -> None:
        self.table = Table()
        self._pacs, self._tool, self._folder = pacs, tool, folder
        self._made, self._read = cache(self._make), cache(self._read_once)

    def files(
        self, source: str, state: Presence = Presence.PRESENT, lesions: int = 2
    ) -> list[Path]:
        """The images of a source."""
        return self._made(source, 0 if state is Presence.ABSENT else lesions)[1]

    def analysis(
        self,
        source: str,
        state: Presence,
        model: ModelManifest,
        variant: str = "",
        lesions: int = 2,
    ) -> Analysis:
        """What a perfect model says of a source; ``variant`` tells cases of one state apart."""
        truth = self._read(source, 0 if state is Presence.ABSENT else lesions)
        case = sha256(f"{model.id} {source} {state} {variant}".encode()).hexdigest()
        return perfect.analysis(replace(truth, model=model), state, case)

    def hear(
        self,
        rows: Sequence[Row],
        given: Analysis | None,
        results: Sequence[ResultInstance],
        folder: Path,
        files: Sequence[Path],
        *,
        answer: bool = False,
    ) -> judges.Case:
        """Judge results; one verdict may be of several rows of the table."""
        paths: dict[ResultKind, list[Path]] = {kind: [] for kind in ResultKind}
        for number, result in enumerate(results):
            path = folder / f"{number:02d}.dcm"
            path.write_bytes(dataset_bytes(result.dataset))
            paths[result.kind].append(path)
        case = judges.Case(given, files, paths, answer)
        with self._noted(rows, case) as passed:
            passed.extend(judges.judge(case, self._pacs, self._tool))
        return case

    @contextmanager
    def _noted(self, rows: Sequence[Row], case: judges.Case) -> Iterator[list[str]]:
        """In the table, whatever the judges say."""
        passed: list[str] = []
        try:
            yield passed
        finally:
            found = case.paths.items()
            objects = ", ".join(f"{len(paths)} {kind.label}" for kind, paths in found if paths)
            for row in rows:
                self.table.add(row, objects, passed)
        assert tuple(passed) == judges.JUDGES

    def _make(self, source: str, lesions: int) -> tuple[sources.Source, list[Path]]:
        made = dressed.dressed(dressed.KINDS[source](sources.body(lesions)))
        return made, save_study(made.instances, self._folder / f"{source} {lesions}")

    def _read_once(self, source: str, lesions: int) -> Truth:
        made, files = self._made(source, lesions)
        return made.truth(files[0].parent, next(iter(BUNDLES.values())))
