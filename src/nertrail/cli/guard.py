"""Exit codes, and the one handler that turns whatever a command raises into a message and one of them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, ParamSpec

import typer

from nertrail.errors import InputError, NertrailError

FAILED, BAD_INPUT, NOT_DELIVERED, INTERRUPTED, TERMINATED = 1, 2, 3, 130, 143
P = ParamSpec("P")


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """One message and the right exit code for whatever a command raises."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except typer.Exit:
            raise
        except InputError as error:
            fail(str(error), BAD_INPUT)
        except NertrailError as error:
            fail(str(error), FAILED)
        except KeyboardInterrupt:
            fail("interrupted; the same command continues", INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - the last line: an unexpected error is shown whole, exit code 1
            traceback.print_exc()
            fail(f"{type(error).__name__}: {error}", FAILED)

    return wrapper


def fail(message: str, code: int) -> NoReturn:
    """End the program with a message on stderr."""
    print(f"error: {message}", file=sys.stderr)
    raise typer.Exit(code)
