"""What this install can decode: the transfer syntaxes that the listener may accept."""

from collections.abc import Mapping

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
"""Uncompressed syntaxes, the one we prefer first. Deflated is refused: 1 MB of it can fill 2 GB."""
COMPRESSED = (
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    HTJ2K,
    RLELossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)


def decoders() -> Mapping[UID, tuple[str, ...]]:
    """Of each compressed transfer syntax: the plug-ins of this install that decode it."""
    found = {}
    for uid in COMPRESSED:
        decoder = get_decoder(uid)
        found[uid] = decoder.available_plugins if decoder.is_available else ()
    return found


def image_transfer_syntaxes() -> list[UID]:
    """What images may arrive in: uncompressed, and all that this install can decode."""
    return [*NATIVE, *(uid for uid, plugins in decoders().items() if plugins)]


def refused_transfer_syntaxes() -> list[UID]:
    """What this install would accept if it had a decoder, and what it never accepts."""
    missing = [uid for uid, plugins in decoders().items() if not plugins]
    return [*missing, DeflatedExplicitVRLittleEndian]
