"""Our own disk, where it fails during delivery: neither the server nor a record is to blame."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nertrail.tracking.protocol import Rejected, Unreachable

_OF_THE_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


@contextlib.contextmanager
def local_disk() -> Iterator[None]:
    """For the body, which only works with files of this machine: what fails there may work once there is room.

    Raises:
        Unreachable: it failed; for all records, since none is better off.
        Rejected: it takes no file of such a name, now or later.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _OF_THE_NAME:
            raise Rejected(f"this machine takes no file of that name: {error}") from error
        raise Unreachable(f"this machine's own disk fails, not the server: {error}", for_all=True) from error


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for the body, below TMPDIR."""
    with local_disk():
        folder = tempfile.TemporaryDirectory(prefix="nertrail-")
    with folder as name:
        yield Path(name)
