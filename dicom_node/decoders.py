"""What this install can decode: the transfer syntaxes that the listener may accept."""

from collections.abc import Mapping

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
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
COMPRESSED: Mapping[UID, str] = {
    JPEGLosslessSV1: "JPEG Lossless SV1",
    JPEGLossless: "JPEG Lossless",
    JPEGLSLossless: "JPEG-LS Lossless",
    JPEGLSNearLossless: "JPEG-LS Near-Lossless",
    JPEG2000Lossless: "JPEG 2000 Lossless",
    JPEG2000: "JPEG 2000",
    HTJ2KLossless: "HTJ2K Lossless",
    HTJ2KLosslessRPCL: "HTJ2K Lossless RPCL",
    HTJ2K: "HTJ2K",
    RLELossless: "RLE Lossless",
    JPEGBaseline8Bit: "JPEG Baseline",
    JPEGExtended12Bit: "JPEG Extended",
}
"""Compressed syntaxes that we look for decoders of, with the names that people use."""


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
