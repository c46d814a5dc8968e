"""``dicom-worker explain``: one figure an answer, with every method that can explain the model."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from dicom_node.catalog import BundleFolder
from dicom_node.domain.arrays import BoolArray
from dicom_node.domain.errors import UnsupportedModel
from dicom_node.domain.explanation import Explanation
from dicom_node.domain.findings import Answer
from dicom_node.domain.manifest import ExplanationPlan
from dicom_node.settings.node import Settings
from explain.explainer import Explainer
from explain.gradcam import WEIGHTINGS
from explain.gradients import blurred
from explain.measures import deletion, insertion, overlap
from explain.methods import METHODS
from reports.case import Case
from reports.figure import Curve, Figure, Map, figure_html
from workers.analysis import analyse_images
from workers.arrays import Arrays, write_arrays
from workers.asked import Asked
from workers.bootstrap import report_settings
from workers.by_hand import choose
from workers.keras_model import KerasModel
from workers.loading import load_model
from workers.preprocess import prepare
from workers.progress import Progress, silent
from workers.volume import read_input
from workers.written import refuse_no_folder

NAMES = {
    "cam": "CAM",
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "scorecam": "Score-CAM",
    "scorecam-pruned": "Score-CAM, pruned",
    "saliency": "Gradient saliency",
    "smoothgrad": "SmoothGrad",
    "integrated-gradients": "Integrated gradients",
    "occlusion": "Occlusion",
    "rise": "RISE",
}
SHOWN = [method for method in METHODS if method != "scorecam"]
"""Full Score-CAM takes minutes, and its pruned form gives the same map."""
ADDING = {"hirescam", "layercam"}
"""Of the class activation maps, those whose cells add up to the logit; see ``explain.weightings``.
A scale for them does not fit the others."""
UNITS = {
    **dict.fromkeys(ADDING, "logits that a cell adds"),
    "saliency": "logits per unit of input",
    "smoothgrad": "logits per unit of input",
    "integrated-gradients": "logits at each input pixel",
    "occlusion": "logits that a patch costs",
    "rise": "logits that a shown pixel adds",
    "scorecam-pruned": "logits times activation",
}


def explain_folder(
    path: Path, bundle: BundleFolder, output: Path, settings: Settings, progress: Progress = silent
) -> list[Path]:
    """Analyse a folder of DICOM files, and write ``figure-N.html`` for each explained answer.

    Beside it ``figure-N.npz`` has the key slice's map on the source grid as ``values``, as it is
    shown, and as ``signed``, where below 0 speaks against the answer.

    Raises UnsupportedModel for a bundle of which there are none, and what ``choose`` and
    ``analyse_images`` raise.
    """
    refuse_no_folder(output)
    model = load_model(bundle)
    if not isinstance(model, KerasModel) or model.explainer() is None:
        raise UnsupportedModel(
            f"figures are of networks whose answers are explained, and those of {bundle.id} are not"
        )
    with TemporaryDirectory() as scratch:
        given = choose(path, bundle, Path(scratch), settings)
        images = read_input(given.paths, bundle.manifest.input, progress)
    analysis = analyse_images(images, model, given.provenance, given.selection, progress)
    case = Case(analysis, report_settings(settings.results))
    asked = Asked(model, prepare(images, bundle.manifest), analysis.prediction)
    if not asked.prepared.keeps_frames:
        raise UnsupportedModel(
            f"figures are of slices as they were made, and {bundle.id} reads others between them"
        )
    answers = [each for each in analysis.answers if each.explanation is not None]
    methods = _methods(model)
    output.mkdir(parents=True, exist_ok=True)
    for earlier in (*output.glob("figure-*.html"), *output.glob("figure-*.npz")):
        earlier.unlink()
    written = []
    for number, finding in enumerate(answers, 1):
        progress("drawing figures", (number - 1) / len(answers))
        page = output / f"figure-{number}.html"
        page.write_text(figure_html(case, figure(finding, asked, methods)), "utf-8")
        arrays = page.with_suffix(".npz")
        write_arrays(arrays, _key_slice(finding, asked))
        written += [page, arrays]
    progress("drawing figures", 1)
    return written


def figure(finding: Answer, asked: Asked, methods: Mapping[str, Explainer | str]) -> Figure:
    """Of one answer that has an explanation: its map, the curves of it, and the other methods."""
    manifest, explanation = asked.model.manifest, finding.explanation
    if explanation is None:
        raise UnsupportedModel(f"{manifest.id} is not explained by its manifest")
    saliency = explanation.saliency
    main = saliency.values[finding.frame]
    shown = Map(
        f"{NAMES[manifest.explanation.method]} of {saliency.layer}",
        main,
        _unit(manifest.explanation.method, finding, asked),
        full_scale=saliency.full_scale,
        note="the map of the report",
    )
    named = main >= manifest.explanation.region_level * max(float(main.max()), 1e-9)
    others = [_map(name, by, named, finding, asked) for name, by in methods.items()]
    curves = list(_curves(finding, explanation, asked))
    return Figure(finding, shown, curves, others, score=_score(finding, asked) or "log-odds")


def _score(answer: Answer, asked: Asked) -> str:
    """The unit of a number that is explained; nothing of a target, which has logits."""
    unit = asked.plan.units[asked.plan.labels.index(answer.label)]
    return unit.meaning if unit else ""


def _unit(method: str, answer: Answer, asked: Asked) -> str:
    return UNITS.get(method, "logits").replace("logits", _score(answer, asked) or "logits")


def _key_slice(finding: Answer, asked: Asked) -> Arrays:
    """The map of the report; nothing of a finding without one."""
    if finding.explanation is None:
        return {}
    saliency, frame = finding.explanation.saliency, finding.frame
    arrays = {"values": saliency.values[frame]}
    if saliency.signed is not None:
        cells = saliency.signed[frame : frame + 1, ..., None]
        arrays["signed"] = asked.prepared.on_source(cells)[0, ..., 0]
    return arrays


def _methods(model: KerasModel) -> dict[str, Explainer | str]:
    """Each method, or why it cannot explain the model."""
    return {method: _bound(method, model) for method in SHOWN}


def _bound(method: str, model: KerasModel) -> Explainer | str:
    own = model.manifest.explanation
    layer = own.layer if method in WEIGHTINGS or method.startswith("scorecam") else None
    depths = own.depths if method == own.method else 1
    plan = own.model_copy(update={"method": method, "layer": layer, "depths": depths})
    try:
        return model.explained_by(plan)
    except UnsupportedModel as error:
        return str(error)


def _curves(finding: Answer, explanation: Explanation, asked: Asked) -> Iterator[Curve]:
    """Of the report's own map, on the pixels of the model's input."""
    seen = asked.seen(finding, explanation.saliency)
    given = (seen.values, seen.image, blurred(seen.image), lambda x: asked.ask(finding, x))
    leaving, coming = deletion(*given), insertion(*given)
    yield Curve("insertion", coming.parts, coming.logits, coming.area)
    yield Curve("deletion", 1 - leaving.parts, leaving.logits, leaving.area)


def _map(name: str, by: Explainer | str, named: BoolArray, finding: Answer, asked: Asked) -> Map:
    if isinstance(by, str):
        return Map(NAMES[name], note=by)
    values = asked.map_by(by, finding)
    note = f"shares {overlap(values, named):.0%} with the place that the first map names"
    scale = _scale(name, asked.model.manifest.explanation)
    return Map(NAMES[name], values, _unit(name, finding, asked), full_scale=scale, note=note)


def _scale(name: str, own: ExplanationPlan) -> float:
    """The model's, where its own method gives maps of the same unit; else 0."""
    alike = {name, own.method} <= ADDING or {name, own.method} <= WEIGHTINGS.keys() - ADDING
    return own.full_scale if alike else 0.0
