"""Fonts for words in pictures. Pillow's own knows English alone, and looks the same anywhere."""

from functools import lru_cache

from PIL import ImageFont

from reports.language import spoken
from reports.settings import Language
from reports.text import MAX_SHOWN, clean, plain

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
FILES: dict[Language, tuple[tuple[str, int], ...]] = {
    "de": (("DejaVuSans.ttf", 0),),
    "zh-Hans": (("NotoSansCJK-Regular.ttc", 2), ("wqy-microhei.ttc", 0), ("wqy-zenhei.ttc", 0)),
}
"""File and index of the face; the first that this machine has."""


def drawable_language() -> Language:
    """The language that is spoken, or English where this machine has no font for it."""
    language = spoken()
    return language if language == "en" or _file(language) else "en"


def font(size: int) -> Font:
    """The font of this size for the language that is spoken."""
    return _opened(spoken(), size)


@lru_cache
def _opened(language: Language, size: int) -> Font:
    """Opened once: Pillow unpacks its own font anew each time."""
    found = _file(language)
    if found is None:
        return ImageFont.load_default(size)
    name, index = found
    return ImageFont.truetype(name, size, index=index)


def drawable(text: str, limit: int = MAX_SHOWN) -> str:
    """A text that the font can show; accents are dropped where it cannot show them."""
    return plain(text, limit) if _file(spoken()) is None else clean(text, limit)


@lru_cache
def _file(language: Language) -> tuple[str, int] | None:
    for name, index in FILES.get(language, ()):
        try:
            ImageFont.truetype(name, 10, index=index)
        except OSError:
            continue
        return name, index
    return None
