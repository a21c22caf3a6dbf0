"""Whether the process that writes a journal still lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_CLOCK_TICKS_FIELD = 19  # of /proc/PID/stat behind the command: when the process began


def identity() -> dict[str, Any]:
    """What tells this process from any other: host, boot, pid namespace, pid and its start time."""
    return {
        "host": socket.gethostname(),
        "boot": _read("/proc/sys/kernel/random/boot_id"),
        "pidns": _link("/proc/self/ns/pid"),
        "pid": os.getpid(),
        "began": _began(os.getpid()),
    }


def lock(descriptor: int) -> bool:
    """Hold the file locked until it is closed. False where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold the lock file `path` for the body; False in the body when somebody else holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def is_locked(path: Path) -> bool | None:
    """Whether some process holds the file locked; None where the file system cannot say."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return False


def is_alive(segment: Path, header: Mapping[str, Any]) -> bool:
    """Whether the writer of this segment lives. Unknown counts as alive: a living run must not be closed."""
    locked = is_locked(segment) if header.get("flock", True) else None
    return locked if locked is not None else same_process(header)


def same_process(header: Mapping[str, Any]) -> bool:
    """Whether the process named in the header may still live, judged without locks."""
    mine = identity()
    if header.get("host") != mine["host"]:
        return True
    if header.get("boot") != mine["boot"]:
        return not header.get("boot")  # this host was booted since
    if header.get("pidns") != mine["pidns"]:
        return True  # pids of another container mean nothing here
    return _began(int(header["pid"])) == header.get("began") is not None


def _began(pid: int) -> str | None:
    stat = _read(f"/proc/{pid}/stat")
    return stat.rpartition(")")[2].split()[_CLOCK_TICKS_FIELD] if stat else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115  the link's text is wanted, it points to no file
    except OSError:
        return ""
