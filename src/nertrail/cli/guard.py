"""Exit codes, and the one handler that turns whatever a command raises into a message and one of them."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, ParamSpec

import typer

from nertrail.errors import InputError, NertrailError

FAILED, BAD_INPUT, NOT_DELIVERED, INTERRUPTED, PIPE_CLOSED, TERMINATED = 1, 2, 3, 130, 141, 143
# of a path that the user gave: no place of ours is too long, forbidden, or a file where a folder is needed
BAD_PATHS = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EROFS)
P = ParamSpec("P")


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """One message and the right exit code for whatever a command raises."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - the last line: nothing leaves without a message
            _end(error)

    return wrapper


def _end(error: BaseException) -> NoReturn:
    """End the program as the error asks for; one that nobody expected is shown whole, exit code 1."""
    if isinstance(error, BrokenPipeError):  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered must not complain at the end
        raise typer.Exit(PIPE_CLOSED)
    if isinstance(error, KeyboardInterrupt):
        fail("interrupted; the same command continues", INTERRUPTED)
    if isinstance(error, SystemExit):
        if error.code == TERMINATED:
            fail("terminated; the same command continues", TERMINATED)
        raise error
    if isinstance(error, NertrailError):
        fail(str(error), BAD_INPUT if isinstance(error, InputError) else FAILED)
    if isinstance(error, OSError) and error.errno in BAD_PATHS and error.filename:
        fail(f"{error.filename}: {error.strerror}\n  → check the path", BAD_INPUT)
    traceback.print_exception(error)
    fail(f"{type(error).__name__}: {error}", FAILED)


def fail(message: str, code: int) -> NoReturn:
    """End the program with a message on stderr."""
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(code)
