"""How sure a finding is, in numbers that mean what they say: calibration, precision, threshold."""

from dicom_node.domain.findings import Finding
from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.outputs import Target
from dicom_node.domain.wording import digits_beside
from reports.language import N_, _, exact, operating_point


def stated_percent(finding: Finding) -> float:
    """To a tenth; more exactly where that would say 0, 100 or the other side of the threshold."""
    chance, threshold = finding.probability, finding.target.threshold
    return round(100 * chance, digits_beside(chance, threshold, least=1))


def probability_text(model: ModelManifest, target: Target) -> str:
    """What makes a probability comparable: its calibration and the operating point."""
    point = N_("At or above {threshold} % the target counts as present.")
    if _rivalled(model, target):
        point = N_(
            "At or above {threshold} % the target counts as present, where nothing else is "
            "likelier."
        )
    threshold = exact(100 * target.threshold)
    return _("{} {}").format(calibration_text(target), _(point).format(threshold=threshold))


def condition(model: ModelManifest, target: Target) -> str:
    """When a target counts as present, beside its probability."""
    from_on = N_("present from {threshold}")
    if _rivalled(model, target):
        from_on = N_("present from {threshold}, where nothing else is likelier")
    return _(from_on).format(threshold=operating_point(target.threshold))


def _rivalled(model: ModelManifest, target: Target) -> bool:
    """Whether another target may be present in its place, though it reaches its own threshold."""
    plan = model.classification
    return plan is not None and plan.exclusive and target in plan.targets


def calibration_text(target: Target) -> str:
    """By what the probability was calibrated, if it was."""
    return _(_wording(target)).format(
        temperature=exact(target.temperature), points=len(target.isotonic)
    )


def calibration_parameter(target: Target) -> str:
    """The same for machines, in the parameters of the algorithm."""
    steps = [f"temperature scaling, T={target.temperature:g}"] if _scaled(target) else []
    steps += [f"isotonic regression, {len(target.isotonic)} points"] if target.isotonic else []
    return f"calibration={', then '.join(steps) or 'none'}"


def _scaled(target: Target) -> bool:
    return target.temperature != 1


def _wording(target: Target) -> str:
    if target.isotonic and _scaled(target):
        return N_(
            "Calibrated by temperature scaling with T = {temperature}, then by isotonic regression "
            "(a curve of {points} points)."
        )
    if target.isotonic:
        return N_("Calibrated by isotonic regression (a curve of {points} points).")
    if _scaled(target):
        return N_("Calibrated by temperature scaling with T = {temperature}.")
    return N_("Not calibrated: the probability is the model's own.")
