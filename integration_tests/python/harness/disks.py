"""Disks that refuse: one that is full, and one that is read-only.

Real ones where this machine lets a process mount in a namespace of its own, as
root does and most users do. A limit on the size of files stands for a full disk
everywhere: a write fails in the same places, and no privileges are needed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

# Ends as the program does; what it left on the small disk is copied back over what was there.
SMALL_DISK = """
set -e
folder="$1" size="$2"; shift 2
kept="$folder.kept"
rm -rf "$kept"; cp -a "$folder" "$kept"
mount -t tmpfs -o "size=$size" tmpfs "$folder"
cp -a "$kept/." "$folder/"
code=0; "$@" || code=$?
rm -rf "$kept"; cp -a "$folder" "$kept"
umount "$folder"
rm -rf "$folder"; mv "$kept" "$folder"
exit "$code"
"""

READ_ONLY_DISK = """
set -e
folder="$1"; shift
mount --bind "$folder" "$folder"
mount -o remount,bind,ro "$folder"
exec "$@"
"""

# The signal would kill the program; ignored, the write fails.
LIMITED_FILES = """
import os, resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""

NAMESPACE = ("unshare", "--mount", "--map-root-user", "sh", "-c")


def small_disk(folder: Path, room: int) -> tuple[str, ...]:
    """A command in front of another: `folder` is on a disk with `room` bytes left."""
    pages = sum(-(-path.stat().st_size // 4096) for path in folder.rglob("*"))
    return (*NAMESPACE, SMALL_DISK, "sh", str(folder), str(pages * 4096 + room))


def read_only_disk(folder: Path) -> tuple[str, ...]:
    return (*NAMESPACE, READ_ONLY_DISK, "sh", str(folder))


def limited_files(size: int) -> tuple[str, ...]:
    """No file may grow beyond `size` bytes."""
    return (sys.executable, "-c", LIMITED_FILES, str(size))


@cache
def can_mount() -> bool:
    """Whether both real disks can be had here."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "disk"
        folder.mkdir()
        commands = [(*small_disk(folder, 4096), "true"), (*read_only_disk(folder), "true")]
        try:
            return all(subprocess.run(command, capture_output=True).returncode == 0 for command in commands)
        except FileNotFoundError:
            return False
