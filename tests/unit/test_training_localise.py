"""The method that points best on masks comes first, and the manifest's own wins a draw."""

from types import SimpleNamespace

import pytest

from workers.training.localise import (
    CANDIDATES,
    CLEARLY,
    COMPARED,
    COSTLY,
    FEW,
    by_method,
    compared,
    preferred,
)
from workers.training.phantom_text import manifest_text
from workers.training.text import parse
from workers.training.trying import Tried

MANIFEST = parse(manifest_text())
"""Names a layer."""
COSTLY_METHOD = "integrated-gradients"


def attempts(hits: int, precision: float, count: int = 10) -> list[Tried]:
    return [Tried({}, n < hits, precision, False, False, 1.0) for n in range(count)]


def unlayered(manifest):
    """A model of which nothing is known but its manifest."""
    return SimpleNamespace(manifest=manifest, explainer=lambda: None)


def ranked(quality) -> list[tuple[str, int, float]]:
    """``quality`` gives hits and precision of a plan."""
    found = compared(
        MANIFEST, unlayered, lambda model, _: attempts(*quality(model.manifest.explanation))
    )
    return [(each.plan.method, each.plan.depths, each.hits) for each in found]


def test_hits_decide_and_precision_between_equals():
    table = {("layercam", 3): (9, 0.7), ("hirescam", 1): (9, 0.8)}
    order = ranked(lambda plan: table.get((plan.method, plan.depths), (5, 0.9)))
    assert order[:2] == [("hirescam", 1, 0.9), ("layercam", 3, 0.9)]
    assert len(order) == len(CANDIDATES) + len(COSTLY)  # the manifest's own is one of them


def test_the_manifests_own_method_wins_a_draw():
    assert ranked(lambda plan: (8, 0.8))[0][0] == MANIFEST.explanation.method


@pytest.mark.parametrize(("hits", "taken"), [(91, "gradcam"), (95, "gradcam"), (99, "layercam")])
def test_a_recipe_keeps_its_own_method_unless_another_points_clearly_better(hits, taken):
    own = 90

    def attempt(model, _count):
        plan = model.manifest.explanation
        best = (plan.method, plan.depths) == ("layercam", 3)
        return attempts(hits if best else own, 0.5, 100)

    found = compared(MANIFEST, unlayered, attempt)
    plan = preferred(MANIFEST.explanation, found)
    assert plan.method == taken
    assert (plan == MANIFEST.explanation) is (taken == "gradcam")
    assert taken == "gradcam" or plan.full_scale == 1.0  # of its own maps
    shown = by_method(found)
    first = shown[f"method: {found[0].name}"]
    assert first["Heat map's place in the mask"].value == hits / 100
    assert len(shown) == len(found)


def test_a_method_without_any_map_comes_last_of_those_of_one_pass():
    found = compared(
        MANIFEST,
        unlayered,
        lambda m, _: [] if m.manifest.explanation.method == "hirescam" else attempts(3, 0.2),
    )
    assert (found[-2].plan.method, found[-2].cases, found[-2].hits) == ("hirescam", 0, 0.0)


def test_plain_grad_cam_of_the_layer_that_the_head_reads_is_compared_where_another_is_named():
    assert MANIFEST.explanation.layer is not None
    found = compared(MANIFEST, unlayered, lambda *_: attempts(5, 0.5))
    tried = {(each.plan.method, each.plan.layer) for each in found}
    assert {("gradcam", None), ("gradcam", MANIFEST.explanation.layer)} <= tried
    assert "gradcam of the layer that the head reads" in {each.name for each in found}


def test_one_layer_is_measured_once_whatever_it_is_called():
    def layered(manifest):
        layer = manifest.explanation.layer or MANIFEST.explanation.layer
        return SimpleNamespace(manifest=manifest, explainer=lambda: SimpleNamespace(layer=layer))

    found = compared(MANIFEST, layered, lambda *_: attempts(5, 0.5))
    plain = [each.plan.layer for each in found if each.plan.method == "gradcam"]
    assert plain == [MANIFEST.explanation.layer]


@pytest.mark.parametrize(("hits", "first"), [(13, "gradcam"), (14, COSTLY_METHOD)])
def test_a_costly_method_is_taken_where_it_clearly_hits_more_of_the_same_few_cases(hits, first):
    """Those of one pass hit half of many cases, and ten of the few."""
    asked = []

    def attempt(model, count):
        method = model.manifest.explanation.method
        asked.append((method, count))
        if method == COSTLY_METHOD:
            return attempts(hits, 0.9, FEW)
        return attempts(10, 0.5, FEW) if count == FEW else attempts(20, 0.5, 40)

    found = compared(MANIFEST, unlayered, attempt)
    assert 13 / FEW < 0.5 + CLEARLY + 1e-9 < 14 / FEW
    assert found[0].plan.method == first
    assert {count for method, count in asked if method == COSTLY_METHOD} == {FEW}
    assert ("gradcam", COMPARED) in asked
