"""How sure a finding is, in numbers that mean what they say: calibration, precision, threshold."""

from dicom_node.domain.findings import Finding
from dicom_node.domain.outputs import Target
from reports.language import N_, _, exact

MOST_DIGITS = 10


def stated_percent(finding: Finding) -> float:
    """To a tenth; more exactly where that would say 0, 100 or the other side of the threshold."""
    exact, limit = 100 * finding.probability, 100 * finding.target.threshold
    for digits in range(1, MOST_DIGITS):
        said = round(exact, digits)
        if said not in (0, 100) and (said >= limit) == (exact >= limit):
            return said
    return exact


def probability_text(target: Target) -> str:
    """What makes a probability comparable: its calibration and the operating point."""
    point = _("At or above {threshold} % the target counts as present.")
    threshold = exact(100 * target.threshold)
    return _("{} {}").format(calibration_text(target), point.format(threshold=threshold))


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
