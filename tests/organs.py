"""The manifest of a model that outlines two organs, and answers nothing else."""

from typing import Any

ORGAN = {"value": "91723000", "scheme": "SCT", "meaning": "Anatomical Structure"}
KIDNEY = {"value": "64033007", "scheme": "SCT", "meaning": "Kidney"}
LIVER = {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}
LEFT = {"value": "7771000", "scheme": "SCT", "meaning": "Left"}


def manifest(
    *, thresholds: tuple[float, float] = (0.5, 0.5), least_ml: float = 0, **given: Any
) -> dict[str, Any]:
    """As ``ModelManifest`` takes it."""
    of_both = {"category": ORGAN, "min_volume_ml": least_ml}
    segments = [
        {"label": "Liver", "type": LIVER, "threshold": thresholds[0], **of_both},
        {
            "label": "Left kidney", "type": KIDNEY, "site": KIDNEY, "laterality": LEFT,
            "threshold": thresholds[1], **of_both,
        },
    ]  # fmt: skip
    return {
        "schema_version": 1,
        "name": "organs",
        "version": "1.0.0",
        "title": "Organ outlines",
        "manufacturer": "Our group",
        "selection": {"modality": ["CT"]},
        "input": {"shape": given.get("shape", (40, 40, 1))},
        "preprocess": [{"step": "window", "center": 40, "width": 400}],
        "outputs": [{"kind": "segmentation", "layer": "masks", "segments": segments}],
        "explanation": {"method": "gradcam", "full_scale": 1.0},
        "card": {
            "intended_use": "Tests.", "not_for": "Patients.", "training_data": "None.",
            "limits": ["Knows nothing."],
        },
    }  # fmt: skip
