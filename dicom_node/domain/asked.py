"""What a manifest asks a model for, each thing once."""

from collections.abc import Iterator

from dicom_node.domain.manifest import ModelManifest
from dicom_node.domain.outputs import Quantity, Segment, Target
from dicom_node.domain.part import CodedConcept

Asked = Target | Quantity | Segment
"""What a manifest asks for."""


def all_asked(manifest: ModelManifest) -> tuple[Asked, ...]:
    """Targets, segments and quantities; what locates a target is asked for with it."""
    return tuple(_asked(manifest))


def _asked(manifest: ModelManifest) -> Iterator[Asked]:
    yield from manifest.targets
    located = {target.located_by for target in manifest.targets}
    if manifest.segmentation:
        yield from (s for s in manifest.segmentation.segments if s.label not in located)
    if manifest.regression:
        yield from manifest.regression.quantities


def about(asked: Asked) -> CodedConcept:
    """What was searched for, outlined, or measured."""
    return asked.type if isinstance(asked, Segment) else asked.finding
