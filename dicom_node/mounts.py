"""What kind of file system a folder is on."""

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
_SHARED = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|glusterfs|lustre|gpfs|beegfs|ocfs2|gfs2|fuse(\..+)?"
)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def file_system(folder: Path, mounts: Path = MOUNTS) -> str:
    """Type of the file system that a folder is on, or would be; empty where nothing says so."""
    place, found = folder.resolve(), (Path(), "")
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in lines:  # of two mounts at one place the later is seen
        where, _, what = line.partition(" - ")
        point = Path(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), where.split()[4]))
        if place.is_relative_to(point) and len(point.parts) >= len(found[0].parts):
            found = (point, what.split()[0])
    return found[1]


def is_shared(kind: str) -> bool:
    """Whether other machines, or a program, stand between it and its disk."""
    return _SHARED.fullmatch(kind) is not None
