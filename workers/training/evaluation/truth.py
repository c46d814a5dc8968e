"""What a data set must say of its cases, by the kind of a bundle's outputs."""

from collections.abc import Iterator, Sequence

from dicom_node.domain.errors import ConfigurationError
from dicom_node.domain.manifest import ModelManifest
from workers.training.dataset import Example
from workers.training.evaluation.quantities import quantities, truth

NUMBERS = "a column {} with the true number in {}"
MASKS = "a column mask with where the segments are: {}"
REFERENCES = "a column reference with what should be made of each image"


def refuse_without(manifest: ModelManifest, examples: Sequence[Example]) -> None:
    """Raise ConfigurationError where nothing that the bundle says can be compared with the data.

    And for labels that the manifest does not know, and numbers that are none.
    """
    if manifest.targets:
        _refuse_unknown(manifest, examples)
        return
    if not any(_says(manifest, example) for example in examples):
        wanted = "; ".join(_wanted(manifest))
        raise ConfigurationError(f"{manifest.id} cannot be measured on this data: give it {wanted}")


def _refuse_unknown(manifest: ModelManifest, examples: Sequence[Example]) -> None:
    known = {target.label.casefold() for target in manifest.targets}
    known |= {quantity.label.casefold() for quantity in quantities(manifest.regression)}
    found = {label.casefold() for example in examples for label in example.labels}
    if found - known:
        raise ConfigurationError(
            f"the data has the labels {', '.join(sorted(found))}, and {manifest.id} knows "
            f"{', '.join(sorted(known))}: rename them in the table, or give --rename"
        )


def _says(manifest: ModelManifest, example: Example) -> bool:
    """Whether anything of a case is known that an output can be compared with."""
    true = [truth(quantity, example) for quantity in quantities(manifest.regression)]
    return (
        any(number is not None for number in true)
        or (manifest.segmentation is not None and example.mask is not None)
        or (manifest.image is not None and example.reference is not None)
    )


def _wanted(manifest: ModelManifest) -> Iterator[str]:
    for quantity in quantities(manifest.regression):
        yield NUMBERS.format(quantity.label, quantity.unit.meaning)
    if manifest.segmentation is not None:
        yield MASKS.format(", ".join(each.label for each in manifest.segmentation.segments))
    if manifest.image is not None:
        yield REFERENCES
