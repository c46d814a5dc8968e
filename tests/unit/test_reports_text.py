"""Header text can neither deceive a reader nor break a page."""

import pytest

from reports.text import clean, person, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Trunk  5.0\tsoft\r\ntissue", "Trunk 5.0 soft tissue"),
        ("a\x00b\x1b$Bc", "a\ufffdb\ufffd$Bc"),
        ("exe\u202egpj.evil", "exe\ufffdgpj.evil"),
        ("\u2066hidden\u2069\u200b", "\ufffdhidden\ufffd\ufffd"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("山田 太郎", "山田 太郎"),
    ],
)
def test_text_is_one_line_of_visible_characters(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_text_of_two_megabytes_is_cut_and_says_so() -> None:
    assert clean("x" * 2_000_000, 64) == "x" * 63 + "…"


def test_text_for_pixels_is_ascii() -> None:
    assert plain("Läsion – ≥ 3 mm…") == "Lasion - ? 3 mm..."


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Phantom^Trunk", "Phantom, Trunk"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou (山田 太郎, やまだ たろう)"),
        ("=山田^太郎", "山田 太郎"),
        ("Adams^John Robert Quincy^^Rev.^B.A.", "Adams, John Robert Quincy"),
        ("", ""),
    ],
)
def test_a_name_reads_as_people_write_it(name: str, shown: str) -> None:
    assert person(name) == shown
