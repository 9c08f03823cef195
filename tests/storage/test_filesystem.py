from __future__ import annotations

from pathlib import Path

import pytest

from beit_exp.storage import filesystem
from beit_exp.storage.filesystem import network_filesystem

MOUNTS = r"""21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 21 0:40 / /home rw,relatime shared:2 - nfs4 server:/home rw,vers=4.2
31 30 254:1 / /home/a/fast\040disk rw shared:3 - xfs /dev/nvme0n1 rw
32 21 0:41 / /mnt/lustre rw - lustre mgs@tcp:/fs rw
33 21 0:42 / /mnt/ssh rw - fuse.sshfs host:/ rw
34 21 0:43 / /mnt/lustre/local rw - lustre mgs@tcp:/fs rw
35 21 0:44 / /mnt/lustre/local rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/var/mlflow.db", None),
        ("/home/a/mlflow.db", "nfs4"),
        ("/homework/mlflow.db", None),
        ("/home/a/fast disk/mlflow.db", None),
        ("/mnt/lustre/x", "lustre"),
        ("/mnt/ssh/x", "fuse.sshfs"),
        ("/mnt/lustre/local/x", None),  # the last mount at a place hides those before
    ],
)
def test_a_network_file_system_is_known_by_its_mount(
    path: str, found: str | None, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "mountinfo")
    assert network_filesystem(Path(path)) == found


def test_where_mounts_cannot_be_read_nothing_is_said(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "none")
    assert network_filesystem(tmp_path) is None


def test_this_machine_s_own_table_can_be_read(tmp_path: Path) -> None:
    assert network_filesystem(tmp_path) is None or isinstance(network_filesystem(tmp_path), str)
