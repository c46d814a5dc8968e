"""Which model wants which series of a study, and the trace of why and why not."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from dicom_node.catalog import BundleFolder
from dicom_node.domain.job import Proposal, SelectedSeries, SeriesChoice
from dicom_node.domain.manifest import SeriesSelection
from dicom_node.domain.rule import TagRule
from dicom_node.domain.study import AttributeValue, Series, Study

FITS = "fits"
NOT_THE_LARGEST = "fits, but another series has more images"


def route(study: Study, bundles: Iterable[BundleFolder]) -> list[Proposal]:
    """One proposal a bundle; its inputs are empty where the model does not want the study."""
    return [_propose(study, bundle) for bundle in bundles]


def keywords(bundles: Iterable[BundleFolder]) -> set[str]:
    """The header attributes that the rules of the bundles ask for."""
    return {rule.keyword for bundle in bundles for rule in bundle.manifest.selection.rules}


def _propose(study: Study, bundle: BundleFolder) -> Proposal:
    selection = bundle.manifest.selection
    reasons = {s.series_instance_uid: reason_against(s, selection) for s in study.series}
    fitting = [s for s in study.series if reasons[s.series_instance_uid] is None]
    taken = _PICK[selection.pick](fitting)
    return Proposal(
        model_name=bundle.manifest.name,
        model_version=bundle.manifest.version,
        bundle_sha256=bundle.sha256,
        inputs=tuple(SelectedSeries.whole(s) for s in taken),
        selection=tuple(
            _choice(s, s in taken, reasons[s.series_instance_uid]) for s in study.series
        ),
    )


def _largest_first(fitting: Sequence[Series]) -> list[Series]:
    return sorted(fitting, key=lambda s: (-frames(s), s.series_instance_uid))


_PICK: Mapping[str, Callable[[Sequence[Series]], list[Series]]] = {
    "most_images": lambda fitting: _largest_first(fitting)[:1],
    "all": _largest_first,
}


def reason_against(series: Series, selection: SeriesSelection) -> str | None:
    """Why a model does not take a series, in words; none: it fits."""
    for check in _CHECKS:
        if reason := check(series, selection):
            return reason
    return next((why for rule in selection.rules if (why := against_rule(series, rule))), None)


def _against_headers(series: Series, _: SeriesSelection) -> str | None:
    if series.unreadable == len(series.instances):
        return "its headers cannot be read"
    return f"{series.unreadable} of its headers cannot be read" if series.unreadable else None


def _against_modality(series: Series, selection: SeriesSelection) -> str | None:
    modality = series.attributes.get("Modality")
    if modality in selection.modality:
        return None
    return f"modality {modality or 'missing'}, not {' or '.join(selection.modality)}"


def _against_class(series: Series, selection: SeriesSelection) -> str | None:
    found = series.attributes.get("SOPClassUID")
    if "Rows" in series.attributes and series.attributes["Rows"] is None:
        return "holds no images"
    if not selection.sop_classes or found in selection.sop_classes:
        return None
    return f"SOP class {found}, not {' or '.join(selection.sop_classes)}"


def _against_orientation(series: Series, selection: SeriesSelection) -> str | None:
    found = series.attributes.get("Orientation")
    if not selection.orientation or found in selection.orientation:
        return None
    return f"orientation {found or 'missing'}, not {' or '.join(selection.orientation)}"


def _against_size(series: Series, selection: SeriesSelection) -> str | None:
    count = frames(series)
    if count < selection.min_images:
        return f"{count} images, fewer than {selection.min_images}"
    if count > selection.max_images:
        return f"{count} images, more than {selection.max_images}"
    return None


_CHECKS: tuple[Callable[[Series, SeriesSelection], str | None], ...] = (
    _against_headers,
    _against_modality,
    _against_class,
    _against_orientation,
    _against_size,
)


def against_rule(series: Series, rule: TagRule) -> str | None:
    """Why a series does not fulfil a rule, in words; none: it does."""
    value = series.attributes.get(rule.keyword)
    if holds(value, rule) is not rule.negate:
        return None
    return f"{rule.keyword} is {_shown(value)}, wanted {_wanted(rule)}"


def holds(value: AttributeValue, rule: TagRule) -> bool:
    """Whether a header value is what a rule compares it with, before ``negate``."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    if rule.equals is not None:
        return len(values) == 1 and _same(values[0], rule.equals)
    if rule.contains is not None:
        return any(_contains(v, rule.contains, len(values)) for v in values)
    if rule.matches is not None:
        text = "\\".join(map(str, values))
        return re.search(rule.matches, text, re.IGNORECASE) is not None
    numbers = [float(v) for v in values if isinstance(v, int | float)]
    if rule.at_least is not None:
        return bool(numbers) and min(numbers) >= rule.at_least
    return bool(numbers) and rule.at_most is not None and max(numbers) <= rule.at_most


def _same(value: object, wanted: str | float) -> bool:
    if isinstance(wanted, str) or isinstance(value, str):
        return str(value).casefold() == str(wanted).casefold()
    return value == wanted


def _contains(value: object, part: str, count: int) -> bool:
    text, part = str(value).casefold(), part.casefold()
    return text == part if count > 1 else part in text


def _wanted(rule: TagRule) -> str:
    words = {
        "equals": rule.equals,
        "contains": rule.contains,
        "matches": rule.matches,
        "at least": rule.at_least,
        "at most": rule.at_most,
    }
    name, value = next((n, v) for n, v in words.items() if v is not None)
    return f"{'not ' if rule.negate else ''}{name} {value}"


def _shown(value: AttributeValue) -> str:
    values = value if isinstance(value, list) else [] if value is None else [value]
    text = "\\".join(map(str, values))
    return text[:64] or "missing"


def frames(series: Series) -> int:
    """Images of a series: frames of all its instances."""
    count = series.attributes.get("Frames")
    return count if isinstance(count, int) else len(series.instances)


def _choice(series: Series, taken: bool, reason: str | None) -> SeriesChoice:
    return SeriesChoice(
        series_instance_uid=series.series_instance_uid,
        series_description=str(series.attributes.get("SeriesDescription") or "")[:64],
        modality=str(series.attributes.get("Modality") or "")[:16],
        images=frames(series),
        taken=taken,
        reason=(reason or (FITS if taken else NOT_THE_LARGEST))[:256],
    )
