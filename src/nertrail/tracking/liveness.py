"""Whether the process that writes a journal still lives, and which process delivers it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

_CLOCK_TICKS_FIELD = 19  # of /proc/PID/stat behind the command: when the process began
_LEASE_SECONDS = 600.0  # without locks, a process of another host counts as gone when it was silent for so long


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
    """Hold the lock file `path`, signed with who we are, for the body; False in the body when somebody else holds it.

    Where the file system has no locks the signature alone is the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        mine = _take(file, path)
        if mine:
            _sign(file, json.dumps(identity()))
        try:
            yield mine
        finally:
            if mine:
                _sign(file, "")


def holder(path: Path) -> dict[str, Any] | None:
    """The identity of the process that holds the lock file, None where nobody does."""
    owner = _owner(path)
    locked = is_locked(path)
    if locked is None:
        return owner if owner and _may_live(owner, path) else None
    return owner if locked else None


def renew(path: Path) -> None:
    """Say that the holder of the lock file still lives: needed only where there are no locks."""
    with contextlib.suppress(OSError):
        os.utime(path)


def _take(file: IO[str], path: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        owner = _owner(path)
        return not owner or not _may_live(owner, path)
    return True


def _sign(file: IO[str], text: str) -> None:
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        file.seek(0)
        file.truncate()
        file.write(text)
        file.flush()


def _owner(path: Path) -> dict[str, Any]:
    try:
        owner: dict[str, Any] = json.loads(_read(str(path)) or "{}")
    except ValueError:
        return {}
    return owner


def _may_live(owner: Mapping[str, Any], path: Path) -> bool:
    """Whether the owner of a lock file may live, judged without locks."""
    if owner.get("host") == socket.gethostname():
        return same_process(owner)
    return time.time() - path.stat().st_mtime < _LEASE_SECONDS


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
