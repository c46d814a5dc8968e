"""Composition root of the worker: the only place that chooses implementations."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dicom_node.catalog import BundleFolder, Catalog, configured
from dicom_node.domain.analysis import Analysis, ResultInstance
from dicom_node.domain.delivery import REPORT_FORMS, ResultKind, StoredResult
from dicom_node.domain.errors import ConfigurationError, CorruptBundle
from dicom_node.domain.job import Claim, Job
from dicom_node.domain.place import Tracked
from dicom_node.domain.provenance import Provenance
from dicom_node.ledger import Ledger
from dicom_node.ledger.succession import Row
from dicom_node.observe import log
from dicom_node.receive.reading import NoticeReader
from dicom_node.receive.reports import Reports
from dicom_node.send.cstore import Peer
from dicom_node.settings.node import Settings
from dicom_node.settings.results import Results
from dicom_node.store import InstanceStore, StoredFile
from reports import wording
from reports.case import Case
from reports.html import report_html
from reports.part10 import file_parts
from reports.readers import Readers
from reports.references import Reference
from reports.settings import ReportSettings
from reports.writer import WRITERS, write_results
from workers.analysis import analyse
from workers.loading import load_model
from workers.model import Model
from workers.tracking import remembered, tracked


@dataclass
class Worker:
    """What a child process needs, made once in it; models stay loaded between jobs."""

    settings: Settings
    ledger: Ledger
    store: InstanceStore
    catalog: Catalog
    _models: dict[str, Model] = field(default_factory=dict)
    _reader: NoticeReader = field(default_factory=NoticeReader)

    @classmethod
    def make(cls, settings: Settings) -> Self:
        """Open the ledger, the store and the catalog of the settings."""
        return cls(
            settings,
            Ledger.open(settings.ledger_url),
            InstanceStore(settings.store_dir),
            configured(settings.models),
        )

    def reports(self, peer: Peer) -> Reports:
        """Takes what a peer reports on our own association with it."""
        who = {"peer": peer.host, "aet": peer.ae_title}
        return Reports(self.ledger, self._reader, lambda _: who)

    def run(self, claim: Claim) -> None:
        """Analyse a claimed job and hand its results to the ledger, all at once.

        Raises ``Unusable``, ``ModelRefused``, ``Transient``, ``Refused`` if the store cannot write,
        and ``LedgerConflict`` if the claim was lost meanwhile.
        """
        job = self.ledger.jobs.get(claim.id)
        analysis = self._analyse(job)
        case = Case(analysis, report_settings(self.settings.written), self.predecessors(job))
        readers = [self._readers(job, names) for names in self.settings.audiences]
        results = write_results(case, writers(self.settings.written.kinds), readers)
        stored = [self.keep(result, place) for place, result in enumerate(in_order(results))]
        report = self.store.keep([report_html(case).encode()])
        self.ledger.jobs.complete(
            claim,
            stored,
            self.settings.wanted,
            summary=summary(analysis),
            report_sha256=report.sha256,
            readers=addressed(results),
        )

    def _readers(self, job: Job, names: tuple[str, ...]) -> Readers:
        kinds = frozenset(kind for name in names for kind in self.settings.wanted[name])
        return Readers(kinds, names, self.predecessors(job, names))

    def predecessors(self, job: Job, names: Collection[str] = ()) -> tuple[Reference, ...]:
        """What results of a job take the place of; if destinations are named, of theirs."""
        return references(job, self.ledger.answers.predecessors(job, names))

    def _analyse(self, job: Job) -> Analysis:
        model = self.model(self._bundle(job))
        summaries = self.ledger.answers.earlier_summaries(job)
        known = remembered(map(tracked_in, summaries))
        files, provenance = self.files(job), self.provenance(job)
        return analyse(files, model, provenance, job.selection, earlier=known)

    def model(self, bundle: BundleFolder) -> Model:
        """Loaded once in a child. Raises what ``load_model`` raises."""
        if bundle.sha256 not in self._models:
            self._models[bundle.sha256] = _loaded(bundle)
        return self._models[bundle.sha256]

    def provenance(self, job: Job) -> Provenance:
        """What the UIDs of a job's results are made of."""
        return Provenance(
            study_instance_uid=job.study_instance_uid,
            generation=job.generation,
            input_sha256=job.input_sha256,
            bundle_sha256=job.bundle_sha256,
            config_sha256=self.settings.written.sha256,
            opened_at=job.opened_at,
        )

    def files(self, job: Job) -> list[StoredFile]:
        """The images that the job was opened for."""
        received = self.ledger.studies.instances(job.study_instance_uid)
        files = {i.sha256: self.store.file(i) for i in received}
        return [files[sha256] for s in job.inputs for _, sha256 in s.instances]

    def _bundle(self, job: Job) -> BundleFolder:
        try:
            bundle = self.catalog.find(f"{job.model_name}@{job.model_version}")
        except ConfigurationError as error:
            raise CorruptBundle(str(error), code="BUNDLE_GONE") from error
        if bundle.sha256 != job.bundle_sha256:
            raise CorruptBundle(
                f"bundle {bundle.id} is not the one that the job was opened for", code="BUNDLE_GONE"
            )
        return bundle

    def keep(self, result: ResultInstance, position: int) -> StoredResult:
        """Store the bytes of a result; ``position`` is its place in the order of sending."""
        data = result.dataset
        kept = self.store.keep(file_parts(data))
        return StoredResult(
            sop_instance_uid=str(data.SOPInstanceUID),
            sop_class_uid=str(data.SOPClassUID),
            series_instance_uid=str(data.SeriesInstanceUID),
            series_description=str(data.SeriesDescription),
            kind=result.kind,
            position=position,
            sha256=kept.sha256,
            size_bytes=kept.size_bytes,
        )


def _loaded(bundle: BundleFolder) -> Model:
    try:
        return load_model(bundle)
    except CorruptBundle as error:
        log("worker").error("bundle.reject", reason=error.code, model=bundle.id)
        raise


def in_order(results: Sequence[ResultInstance]) -> list[ResultInstance]:
    """Results in the order of sending: what is referred to before what refers to it."""
    return sorted(results, key=lambda result: result.kind.rank)


def references(job: Job, rows: Iterable[Row]) -> tuple[Reference, ...]:
    """Results of a job's study, as documents refer to them."""
    names = ("series_instance_uid", "sop_class_uid", "sop_instance_uid")
    return tuple(Reference(job.study_instance_uid, *(row[n] for n in names)) for row in rows)


def addressed(results: Iterable[ResultInstance]) -> dict[str, tuple[str, ...]]:
    """Of results that are not for all who take their kind: the destinations they are for."""
    return {str(r.dataset.SOPInstanceUID): r.readers for r in results if r.readers is not None}


def report_settings(results: Results) -> ReportSettings:
    """The part of the settings that the writers see."""
    return ReportSettings(
        series_number_base=results.series_number_base,
        language=results.language,
        institution_name=results.institution,
        segmentation=results.segmentation,
        parametric_map=results.parametric_map,
    )


def writers(kinds: Sequence[ResultKind]) -> list[Any]:
    """The writers of the wanted kinds, in the order of writing."""
    return [writer for writer in WRITERS if writer.kind in kinds]


def summary(analysis: Analysis) -> dict[str, Any]:
    """What the pages show of an analysis, and what a later one must know of it."""
    return {
        "line": wording.summary(analysis),
        "warning": wording.warning(analysis),
        "findings": [
            {
                "label": wording.named(analysis, finding),
                "presence": finding.presence.value,
                "probability": finding.probability,
                "threshold": finding.target.threshold,
                "trust": finding.explanation.quality.trust.value if finding.explanation else None,
                "reasons": list(finding.explanation.quality.reasons) if finding.explanation else [],
            }
            for finding in analysis.findings
        ],
        "tracked": [each.plain() for each in tracked(analysis.findings)],
    }


def tracked_in(summary: Mapping[str, Any]) -> list[Tracked]:
    """What the analysis of a summary found at its places."""
    return [Tracked.of(plain) for plain in summary.get("tracked", ())]


def write_folder(case: Case, folder: Path, kinds: Sequence[ResultKind]) -> list[Path]:
    """Write results and report as files, for one study without a ledger; one form of the SR."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if ResultKind.STRUCTURED_REPORT in kinds:
        kinds = [kind for kind in kinds if kind not in REPORT_FORMS[1:]]
    for number, result in enumerate(in_order(write_results(case, writers(kinds))), 1):
        path = folder / f"{number:02d}-{result.kind.lower().replace('_', '-')}.dcm"
        with path.open("wb") as file:
            file.writelines(file_parts(result.dataset))
        written.append(path)
    page = folder / "report.html"
    page.write_text(report_html(case), "utf-8")
    return [*written, page]
