"""What comes from a header is shown as short, harmless text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from dicom_node.domain.wording import percent
from dicom_node.web import text
from dicom_node.web.site import templates


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Doe^Jane", "Doe, Jane"),
        ("Doe^Jane^Q^Dr^MD", "Doe, Jane Q Dr MD"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou (山田 太郎, やまだ たろう)"),
        ("=山田^太郎", "山田 太郎"),
        ("^^^^", ""),
        ("", ""),
        (None, ""),
        ("مريض^اسم", "مريض, اسم"),
    ],
)
def test_names_of_persons(value: str | None, shown: str) -> None:
    assert text.person(value) == shown


@given(st.text())
def test_no_text_can_steer_the_page(value: str) -> None:
    shown = templates().from_string("{{ value }}").render(value=value)
    assert not set(shown) & set("<>\x00\x1b\r\n\u202a\u202e\u2066\u2069\u200f\ufeff")
    shown.encode()


def test_long_text_is_cut_whatever_template_shows_it() -> None:
    shown = templates().from_string("{{ value }}").render(value="x" * 5_000_000)
    assert len(shown) == text.LONGEST
    assert shown.endswith("…")


def test_markup_of_our_own_passes_and_none_is_nothing() -> None:
    assert text.neutral(Markup("<b>\n</b>")) == "<b>\n</b>"
    assert text.neutral(None) == ""


def test_a_name_the_template_does_not_know_is_an_error() -> None:
    with pytest.raises(Exception, match="undefined"):
        templates().from_string("{{ nothing }}").render()


def test_several_values_and_other_types_are_shown_short() -> None:
    assert text.short(["CT", "SEG"]) == "CT/SEG"
    assert text.short(7) == "7"
    assert text.short(None) == ""
    assert len(text.short(["x" * 100] * 100)) == text.SHORT


@pytest.mark.parametrize(
    ("value", "shown"),
    [("20260131", "2026-01-31"), ("2026.01.31", "2026.01.31"), (None, ""), ("2026013", "2026013")],
)
def test_dates(value: str | None, shown: str) -> None:
    assert text.dicom_date(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 B"), (999, "999 B"), (1536, "1.5 KiB"), (40_000, "39 KiB"), (5 << 30, "5.0 GiB")],
)
def test_sizes(value: int, shown: str) -> None:
    assert text.size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "<1%"), (0.004, "<1%"), (0.5, "50%"), (0.93, "93%"), (0.999, ">99%"), (1, ">99%")],
)
def test_a_probability_never_looks_more_certain_than_it_is(value: float, shown: str) -> None:
    assert percent(value) == shown


@pytest.mark.parametrize(
    ("passed", "shown"),
    [(-9, "just now"), (59, "just now"), (61, "1 min ago"), (7200, "2 h ago"), (2e5, "2 days ago")],
)
def test_how_long_ago(passed: float, shown: str) -> None:
    assert text.ago(1e9 - passed, 1e9) == shown


def test_counts_have_their_plural() -> None:
    assert text.count(1, "study") == "1 study"
    assert text.count(2, "study") == "2 studies"
    assert text.count(0, "image") == "0 images"
