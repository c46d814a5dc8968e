"""One study, one model, one folder of results: the pipeline without PACS, broker or ledger."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from dicom_node.catalog import BundleFolder, configured, open_bundle
from dicom_node.domain.analysis import Analysis
from dicom_node.domain.errors import ConfigurationError, DicomNodeError, IncompleteStudy
from dicom_node.domain.job import Proposal, SeriesChoice
from dicom_node.domain.provenance import Provenance
from dicom_node.domain.study import Instance
from dicom_node.headers import DirectReader, read_study
from dicom_node.ledger.opening import input_sha256
from dicom_node.receive.part10 import keep_in
from dicom_node.routing import keywords, route
from dicom_node.send.command import dicom_files
from dicom_node.settings.node import Settings
from dicom_node.signing import Signers
from dicom_node.store import InstanceStore
from reports import wording
from reports.case import Case
from workers.analysis import analyse
from workers.bootstrap import report_settings, write_folder
from workers.loading import load_model
from workers.model import Model
from workers.progress import Progress, silent
from workers.written import refuse_no_folder


@dataclass(frozen=True, slots=True)
class Done:
    """What came out."""

    files: tuple[Path, ...]
    analysis: Analysis

    @property
    def line(self) -> str:
        """The answer in one line."""
        return wording.summary(self.analysis)


@dataclass(frozen=True, slots=True)
class Given:
    """The series of a folder that a model reads."""

    paths: tuple[Path, ...]
    provenance: Provenance
    selection: tuple[SeriesChoice, ...]


def analyse_folder(
    path: Path,
    bundle: BundleFolder,
    output: Path,
    settings: Settings,
    progress: Progress = silent,
    load: Callable[[BundleFolder], Model] = load_model,
) -> Done:
    """Select a series as routing would, analyse it, write results and report into ``output``.

    Raises ``IncompleteStudy`` (NO_MODEL), naming for each series why the model did not take it.
    """
    refuse_no_folder(output)
    with TemporaryDirectory() as scratch:
        given = choose(path, bundle, Path(scratch), settings)
        model = load(bundle)
        analysis = analyse(given.paths, model, given.provenance, given.selection, progress)
        progress("writing results", 0)
        case = Case(analysis, report_settings(settings.results))
        files = write_folder(case, output, settings.written.kinds)
        progress("writing results", 1)
    return Done(tuple(files), analysis)


def choose(path: Path, bundle: BundleFolder, scratch: Path, settings: Settings) -> Given:
    """Keep a folder's files in ``scratch``, and select a series of them as routing would.

    Raises ``IncompleteStudy`` (NO_MODEL), naming for each series why the model did not take it, and
    ConfigurationError for two files with one SOP Instance UID and other content.
    """
    store = InstanceStore(scratch)
    instances = _kept(store, dicom_files(path))
    proposal = _propose(instances, store, bundle)
    provenance = Provenance(
        study_instance_uid=instances[0].study_instance_uid,
        generation=1,
        input_sha256=input_sha256(proposal.inputs),
        bundle_sha256=bundle.sha256,
        config_sha256=settings.written.sha256,
        opened_at=datetime.now(UTC),
    )
    paths = [store.path(sha256) for s in proposal.inputs for _, sha256 in s.instances]
    return Given(tuple(paths), provenance, tuple(proposal.selection))


def find_bundle(name: str, settings: Settings) -> BundleFolder:
    """A bundle by its folder, its ``name@version``, or its name alone where that is unique."""
    models = settings.models
    if Path(name).is_dir():
        return open_bundle(Path(name), Signers.read(models.trusted_keys, models.require_signature))
    bundles = configured(models).bundles
    found = [b for b in bundles if name in (b.id, b.manifest.name)]
    if len(found) != 1:
        known = ", ".join(b.id for b in bundles) or "none"
        raise ConfigurationError(f"{name} is no bundle folder and no bundle of: {known}")
    return found[0]


def _kept(store: InstanceStore, files: Sequence[Path]) -> list[Instance]:
    """Each image once, however many copies of it there are. Errors name the file."""
    found: dict[str, tuple[Instance, Path]] = {}
    for file in files:
        try:
            instance = keep_in(store, file.read_bytes())
        except DicomNodeError as error:
            raise type(error)(f"{file}: {error}", code=error.code) from error
        first, where = found.setdefault(instance.sop_instance_uid, (instance, file))
        if first.sha256 != instance.sha256:
            raise ConfigurationError(
                f"{where} and {file} have the same SOP Instance UID and are not the same: take one "
                "of them out"
            )
    return [instance for instance, _ in found.values()]


def _propose(instances: Sequence[Instance], store: InstanceStore, bundle: BundleFolder) -> Proposal:
    studies = {i.study_instance_uid for i in instances}
    if len(studies) > 1:
        raise ConfigurationError(f"the folder holds {len(studies)} studies: give one of them")
    study = read_study(studies.pop(), instances, store, DirectReader(), keywords([bundle]))
    (proposal,) = route(study, [bundle])
    if not proposal.inputs:
        reasons = "; ".join(
            f"{c.series_description or c.series_instance_uid}: {c.reason}"
            for c in proposal.selection
        )
        raise IncompleteStudy(
            f"{bundle.id} takes no series of this study: {reasons}", code="NO_MODEL"
        )
    return proposal
