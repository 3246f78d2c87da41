"""Which file system holds a tree, told from tables of mounts as kernels write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.mounts import (
    Hearing,
    file_system_of,
    file_systems_of,
    hearing_of,
    is_silent,
    parse_mounts,
)

ROOT = "21 1 252:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw"


def table(*lines: str) -> str:
    return "\n".join((ROOT, *lines)) + "\n"


@pytest.mark.parametrize(
    "kind",
    [
        *("nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "vboxsf", "prl_fs", "ceph", "autofs"),
        *("fuse.sshfs", "fuse.rclone", "fuse", "fuseblk", "fuse.grpcfuse", "fuse.osxfs"),
    ],
)
def test_network_and_shared_file_systems_are_silent(kind: str) -> None:
    assert is_silent(kind)
    found = hearing_of(Path("/mnt/x/run"), table(f"30 21 0:26 / /mnt/x rw - {kind} host:/x rw"))
    assert found == (Hearing.NONE, kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "zfs", "f2fs", "bcachefs"])
def test_local_file_systems_are_heard(kind: str) -> None:
    found = hearing_of(Path("/data/run"), table(f"30 21 0:26 / /data rw - {kind} none rw"))
    assert found == (Hearing.FULL, kind)


def test_overlay_is_heard_in_part() -> None:
    lines = "40 1 0:50 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w"
    assert hearing_of(Path("/out"), lines) == (Hearing.PARTIAL, "overlay")
    # A volume that is mounted into the container is what its own type says.
    volume = lines + "\n41 40 8:1 /volumes/v /out rw - ext4 /dev/sda1 rw"
    assert hearing_of(Path("/out/run"), volume) == (Hearing.FULL, "ext4")


def test_unknown_is_taken_for_silent() -> None:
    assert hearing_of(Path("/out"), "") == (Hearing.NONE, "unknown")
    assert file_systems_of(Path("/out"), "no table at all") == (None,)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (r"/mnt/a\040b", "/mnt/a b"),
        (r"/mnt/a\011b", "/mnt/a\tb"),
        (r"/mnt/a\012b", "/mnt/a\nb"),
        (r"/mnt/a\134b", "/mnt/a\\b"),
        (r"/mnt/a\043b", "/mnt/a#b"),
        # A backslash and three digits in the name itself.
        (r"/mnt/a\134040b", r"/mnt/a\040b"),
    ],
)
def test_escaped_names_are_read_back(written: str, name: str) -> None:
    lines = table(f"30 21 0:26 / {written} rw - nfs host:/x rw")
    assert file_system_of(Path(name) / "out", lines) == "nfs"
    assert file_system_of(Path(written) / "out", lines) == ("nfs" if written == name else "ext4")


def test_dash_among_the_options_does_not_end_them_early() -> None:
    lines = table("30 21 0:26 / /mnt rw shared:2 master:1 propagate_from:2 - nfs4 - rw")
    assert file_system_of(Path("/mnt/x"), lines) == "nfs4"


def test_bind_mount_has_the_type_of_what_it_shows() -> None:
    lines = table(
        "30 21 0:26 / /mnt/share rw - cifs //server/out rw",
        "31 21 0:26 /runs /home/u/out rw - cifs //server/out rw",
        "32 21 252:1 /var/data /mnt/share/local rw - ext4 /dev/vda1 rw",
    )
    assert file_system_of(Path("/home/u/out/a"), lines) == "cifs"
    assert file_system_of(Path("/home/u/other"), lines) == "ext4"


def test_mount_on_a_mount_hides_it() -> None:
    lines = table(
        "30 21 0:26 / /mnt/share rw - cifs //server/out rw",
        "31 30 0:27 / /mnt/share rw - ext4 /dev/vdb rw",
    )
    assert file_system_of(Path("/mnt/share/x"), lines) == "ext4"


def test_mount_above_hides_what_was_mounted_below_it() -> None:
    lines = table(
        "30 21 0:26 / /mnt/share/deep rw - nfs host:/x rw",
        "31 21 0:27 / /mnt/share rw - tmpfs none rw",
    )
    assert file_systems_of(Path("/mnt/share/deep/x"), lines) == ("tmpfs",)
    assert file_systems_of(Path("/mnt/share"), lines) == ("tmpfs",)


def test_network_mount_inside_of_the_tree_makes_all_of_it_silent() -> None:
    lines = table(
        "30 21 0:26 / /out/runs/remote rw - fuse.sshfs host:/x rw",
        "31 21 0:27 / /outer rw - nfs host:/y rw",
    )
    assert file_systems_of(Path("/out"), lines) == ("ext4", "fuse.sshfs")
    assert hearing_of(Path("/out"), lines) == (Hearing.NONE, "fuse.sshfs")
    # Beside it, and with a longer name, is not inside of it.
    assert hearing_of(Path("/out/other"), lines) == (Hearing.FULL, "ext4")


def test_links_on_the_way_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")
    assert file_system_of(tmp_path / "link") == "proc"
    assert file_system_of(tmp_path) != "proc"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "broken line",
        "30 21 0:26 / /mnt rw nfs host:/x rw",
        "30 x 0:26 / /mnt rw - nfs host:/x rw",
        "x 21 0:26 / /mnt rw - nfs host:/x rw",
        "30 21 0:26 / /mnt rw -",
    ],
)
def test_line_that_is_no_mount_is_left_out(line: str) -> None:
    assert len(parse_mounts(table(line))) == 1


def test_mounts_in_a_circle_end() -> None:
    lines = "1 2 0:1 / / rw - ext4 a rw\n2 1 0:2 / / rw - xfs b rw"
    assert file_system_of(Path("/x"), lines) in (None, "ext4", "xfs")
    assert file_system_of(Path("/x"), "1 1 0:1 / / rw - ext4 a rw") == "ext4"


@given(st.text(alphabet="0123456789 /-:\\\nabfnserw", max_size=400))
def test_no_table_breaks_it(text: str) -> None:
    found = file_systems_of(Path("/a/b"), text)
    assert len(found) >= 1
