"""The method that points best on masks comes first, and the manifest's own wins a draw."""

from types import SimpleNamespace

from workers.training.localise import CANDIDATES, compared
from workers.training.phantom_text import manifest_text
from workers.training.text import parse
from workers.training.trying import Tried

MANIFEST = parse(manifest_text())


def attempts(hits: int, precision: float) -> list[Tried]:
    return [Tried({}, n < hits, precision, False, False, 1.0) for n in range(10)]


def unlayered(manifest):
    """A model of which nothing is known but its manifest."""
    return SimpleNamespace(manifest=manifest, explainer=lambda: None)


def ranked(quality) -> list[tuple[str, int, float]]:
    """``quality`` gives hits and precision of a plan."""
    found = compared(
        MANIFEST, unlayered, lambda model: attempts(*quality(model.manifest.explanation))
    )
    return [(each.plan.method, each.plan.depths, each.hits) for each in found]


def test_hits_decide_and_precision_between_equals():
    table = {("layercam", 3): (9, 0.7), ("hirescam", 1): (9, 0.8)}
    order = ranked(lambda plan: table.get((plan.method, plan.depths), (5, 0.9)))
    assert order[:2] == [("hirescam", 1, 0.9), ("layercam", 3, 0.9)]
    assert len(order) == len(CANDIDATES)  # the manifest's own is one of them


def test_the_manifests_own_method_wins_a_draw():
    assert ranked(lambda plan: (8, 0.8))[0][0] == MANIFEST.explanation.method


def test_a_method_without_any_map_comes_last():
    found = compared(
        MANIFEST,
        unlayered,
        lambda m: [] if m.manifest.explanation.method == "gradcam" else attempts(3, 0.2),
    )
    assert (found[-1].plan.method, found[-1].cases, found[-1].hits) == ("gradcam", 0, 0.0)
