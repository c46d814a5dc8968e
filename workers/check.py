"""Everything that can be known of a bundle before a hospital has it, one line after the other."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from dicom_node.catalog import CARD, BundleFolder, open_bundle
from dicom_node.doctor import Check, Health
from dicom_node.domain.analysis import Analysis
from dicom_node.domain.errors import DicomNodeError
from dicom_node.domain.explanation import Trust
from dicom_node.domain.findings import Estimate, Finding
from dicom_node.domain.provenance import Provenance
from dicom_node.settings.node import Settings
from dicom_node.signing import Signers
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study
from reports import wording
from reports.case import Case
from workers.analysis import analyse
from workers.bootstrap import report_settings, write_folder
from workers.by_hand import analyse_folder
from workers.card import PARTS, SUBGROUPS, hides_subgroups, lacks
from workers.golden import TOLERANCE, differences, golden_images
from workers.golden_study import save_images
from workers.loading import load_model
from workers.memory import peak_gib
from workers.model import Model
from workers.objects import faults, has_dciodvfy
from workers.progress import Progress, silent
from workers.sanity import sanity
from workers.training.cases_check import check_cases
from workers.training.evaluation.run import Question, asked_about
from workers.training.masked import Cases

PHANTOM_SEED = 7_000_003
"""Of a phantom that training never sees."""


def check_bundle(
    folder: Path,
    study: Path | None,
    settings: Settings,
    progress: Progress = silent,
    cases: Question | None = None,
) -> Iterator[Check]:
    """Check a bundle; what cannot go on after a line that is bad ends there."""
    try:
        yield from _Checks(folder, study, settings, progress, cases).run()
    except DicomNodeError as error:
        yield Check("refused", Health.BAD, f"{error} ({error.code})", "mend it, and check again")


@dataclass
class _Checks:
    folder: Path
    study: Path | None
    settings: Settings
    progress: Progress
    cases: Question | None

    def run(self) -> Iterator[Check]:
        """Raises DicomNodeError where nothing further can be said."""
        models = self.settings.models
        signers = Signers.read(models.trusted_keys, models.require_signature)
        bundle = open_bundle(self.folder, signers)
        yield Check("schema", Health.OK, f"{bundle.id}, {_described(bundle)}")
        yield _card(bundle)
        yield _signature(bundle)
        self.progress("loading the model", 0)
        model = load_model(bundle)
        self.progress("loading the model", 1)
        versions = ", ".join(f"{name} {what}" for name, what in model.versions.items())
        yield Check("model", Health.OK, versions)
        yield from _golden(bundle, model)
        with TemporaryDirectory() as scratch:
            yield from self._results(bundle, model, Path(scratch))
        if self.cases is not None:
            cases = Cases(asked_about(self.cases), self.cases.spacing_mm)
            yield from check_cases(bundle, cases, self.progress)

    def _results(self, bundle: BundleFolder, model: Model, scratch: Path) -> Iterator[Check]:
        started = time.monotonic()
        done = self._analysed(bundle, model, scratch)
        if done is None:
            advice = "package it with an example, or give --study"
            yield Check("objects", Health.BAD, "there is no study to run it on", advice)
            return
        analysis, files = done
        seconds, peak = time.monotonic() - started, peak_gib()
        yield _objects([file for file in files if file.suffix == ".dcm"])
        yield _report(files, analysis)
        yield _time(bundle, analysis, seconds)
        yield _memory(bundle, peak)
        yield from explanations(analysis)
        yield from sanity(bundle, analysis.images)

    def _analysed(
        self, bundle: BundleFolder, model: Model, scratch: Path
    ) -> tuple[Analysis, Sequence[Path]] | None:
        """Of the given study as routing takes it; of golden images or a phantom as they are."""
        output = scratch / "results"
        if self.study is not None:
            done = analyse_folder(
                self.study, bundle, output, self.settings, self.progress, lambda _: model
            )
            return done.analysis, done.files
        images = golden_images(bundle)
        if images is not None:
            files = save_images(images, scratch / "study")
        elif "CT" in bundle.manifest.selection.modality:
            files = save_study(make_study(phantom(PHANTOM_SEED)), scratch / "study")
        else:
            return None
        provenance = Provenance("2.25.1", 1, "", bundle.sha256, "", datetime.now(UTC))
        analysis = analyse(files, model, provenance, (), self.progress)
        case = Case(analysis, report_settings(self.settings.results))
        return analysis, write_folder(case, output, self.settings.written.kinds)


def _described(bundle: BundleFolder) -> str:
    manifest = bundle.manifest
    kinds = ", ".join(output.kind for output in manifest.outputs)
    return f"{kinds} of each {manifest.input.unit}, {'/'.join(manifest.selection.modality)}"


def _card(bundle: BundleFolder) -> Check:
    card = (bundle.path / CARD).read_text("utf-8")
    lacking = list(lacks(card))
    named = any(row.subgroup for row in bundle.manifest.card.performance)
    if not lacking and not named and hides_subgroups(card):
        return Check("card", Health.NOTE, "names no subgroup", SUBGROUPS)
    if not lacking:
        return Check("card", Health.OK, "intended use, training data, performance, limits")
    parts = "; ".join(f"## {name}: {PARTS[name]}" for name in lacking)
    return Check("card", Health.NOTE, f"does not say: {', '.join(lacking)}", f"add {parts}")


def _signature(bundle: BundleFolder) -> Check:
    if bundle.signed_by:
        return Check("signature", Health.OK, f"signed by {bundle.signed_by}")
    advice = "sign it with `dicom-worker sign`, and name the public key in models.trusted_keys"
    return Check("signature", Health.NOTE, "no trusted signature", advice)


def _golden(bundle: BundleFolder, model: Model) -> Iterator[Check]:
    found = dict(differences(bundle, model))
    if not found:
        advice = "package it with an example, so that others can see that it still runs the same"
        yield Check("golden test", Health.NOTE, "the bundle has no golden files", advice)
    for head, difference in found.items():
        passed = difference <= TOLERANCE
        yield Check(
            f"golden test, {head}",
            Health.OK if passed else Health.BAD,
            f"differs by {difference:.2%} of its range",
            "" if passed else "compare the versions of Keras and TensorFlow, or package it again",
        )


def _objects(files: Sequence[Path]) -> Check:
    found = [fault for file in files for fault in faults(file)]
    names = ", ".join(file.stem.partition("-")[2] for file in files)
    if found:
        return Check("objects", Health.BAD, "; ".join(found), "report this, with the bundle")
    if not has_dciodvfy():
        advice = "install dciodvfy for a second opinion (Debian: apt install dicom3tools)"
        return Check("objects", Health.NOTE, f"{names}: read back by highdicom", advice)
    return Check("objects", Health.OK, f"{names}: read back by highdicom, no error of dciodvfy")


def _report(files: Sequence[Path], analysis: Analysis) -> Check:
    page = next(file for file in files if file.suffix == ".html")
    return Check(
        "report", Health.OK, f"{page.stat().st_size / 1024:.0f} KiB; {wording.summary(analysis)}"
    )


def explanations(analysis: Analysis) -> Iterator[Check]:
    """How far each map of the study can be believed."""
    if analysis.manifest.explained is None:
        yield Check("explanation", Health.NOTE, "the model explains nothing")
    if analysis.unfamiliar:
        advice = "give --study: nothing is learnt of a bundle from images that it is not for"
        found = "the images are not like those of training: maps are withheld as they must be"
        yield Check("explanation, scope", Health.NOTE, found, advice)
    answers: list[Finding | Estimate] = [*analysis.findings, *analysis.estimates]
    for answer in answers:
        if answer.explanation is None:
            continue
        quality = answer.explanation.quality
        bad = Health.NOTE if analysis.unfamiliar else Health.BAD
        health = {Trust.RELIABLE: Health.OK, Trust.NOT_RELIABLE: bad}
        yield Check(
            f"explanation, {answer.tracking_id}",
            health.get(quality.trust, Health.NOTE),
            quality.trust.value.replace("_", " ").lower(),
            "; ".join(quality.reasons),
        )


def _time(bundle: BundleFolder, analysis: Analysis, seconds: float) -> Check:
    said = bundle.manifest.resources
    found = f"{seconds:.1f} s for {len(analysis.images.frames)} images"
    if said is None:
        return Check("time", Health.NOTE, found, "say it in the manifest (resources.seconds)")
    if seconds > said.seconds:
        return Check("time", Health.BAD, found, f"the manifest says {said.seconds:g} s")
    return Check("time", Health.OK, f"{found}; the manifest says at most {said.seconds:g} s")


def _memory(bundle: BundleFolder, peak: float) -> Check:
    said = bundle.manifest.resources
    found = f"{peak:.2f} GiB"
    if said is None:
        return Check("peak memory", Health.NOTE, found, "say it (resources.memory_gib)")
    if peak > said.memory_gib:
        advice = f"the manifest says {said.memory_gib:g} GiB"
        return Check("peak memory", Health.BAD, found, advice)
    return Check("peak memory", Health.OK, f"{found}; the manifest says {said.memory_gib:g} GiB")
