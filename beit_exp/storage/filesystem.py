"""What a place on disk stands on."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|afs|9p|lustre|gpfs|beegfs|ceph|glusterfs|pvfs2|panfs|wekafs|"
    r"fuse\.(?:sshfs|s3fs|glusterfs|ceph|obsfs|juicefs|lustre|.*nfs.*)"
)


def network_filesystem(path: Path) -> str | None:
    """The type of the network file system that a path lies on; None where it lies on no such, or
    where that cannot be told.
    """
    try:
        lines = MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return None
    whole, found, longest = path.resolve(), "", -1
    for line in lines:
        mount, _, about = line.partition(" - ")
        point = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), mount.split()[4]))
        if whole.is_relative_to(point) and len(point.parts) >= longest:
            found, longest = about.split()[0], len(point.parts)
    return found if NETWORK.fullmatch(found) else None
