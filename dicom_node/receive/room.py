"""Room inside a file: taken ahead, and given back, where the file system can (fallocate(2))."""

import ctypes
import os

ALLOCATE, KEEP_SIZE, PUNCH_HOLE = 0, 1, 2
ZEROS = bytes(1 << 16)


def reserve(handle: int, offset: int, size: int) -> None:
    """Take room. Where that cannot be done, nothing happens: the write will tell."""
    _allocate(handle, ALLOCATE, offset, size)


def erase(handle: int, offset: int, size: int) -> None:
    """Nothing but zeros from here on, and the room of whole blocks given back.

    On stable storage with the next sync. Raises ``OSError``.
    """
    if _allocate(handle, PUNCH_HOLE | KEEP_SIZE, offset, size):
        return
    for begin in range(offset, offset + size, len(ZEROS)):
        os.pwrite(handle, ZEROS[: offset + size - begin], begin)


def _allocate(handle: int, mode: int, offset: int, size: int) -> bool:
    return bool(_FALLOCATE(handle, mode, ctypes.c_long(offset), ctypes.c_long(size)) == 0)


_FALLOCATE = ctypes.CDLL(None).fallocate
