"""How MLflow's client behaves: its errors in our terms, and its settings, which belong to the whole process."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from nertrail.tracking.protocol import Rejected, Unreachable

UNAUTHORISED = 401
_WAIT_STATUSES = (UNAUTHORISED, 408, 425, 429)
_UPLOAD_SECONDS = 120
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"


class Unauthorised(Unreachable):
    """The server does not know our credentials, any more or yet."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn whatever mlflow, its plugins and the libraries below it raise into `Unreachable` or `Rejected`."""
    try:
        yield
    except (Unreachable, Rejected):
        raise
    except ImportError as error:
        raise Unreachable(f"mlflow cannot be used: {error}") from error
    except Exception as error:
        raise _translation(error) from error


@contextlib.contextmanager
def looking() -> Iterator[None]:
    """For calls that only read: what is refused there is refused to us, not to a record, and may work later."""
    try:
        with translated():
            yield
    except Rejected as error:
        raise Unreachable(f"this does not look like an MLflow server that we may use: {error}") from error


def _translation(error: Exception) -> Unreachable | Rejected:
    problem = f"{type(error).__name__}: {str(error)[:500]}"
    status, headers = _answer(error)
    if status == UNAUTHORISED:
        return Unauthorised(problem, for_all=True)
    if _may_work_later(error, status):
        wish = _seconds(headers.get("Retry-After", ""))
        return Unreachable(problem, retry_after=wish, for_all=status in _WAIT_STATUSES)
    return Rejected(problem)


def _may_work_later(error: Exception, status: int | None) -> bool:
    if status is not None:
        return status in _WAIT_STATUSES or status >= 500
    causes = list(_chain(error))
    if any(isinstance(cause, (OSError, json.JSONDecodeError)) for cause in causes):
        return True  # no connection, or an answer that was cut off
    if any(isinstance(cause, (ValueError, TypeError)) for cause in causes[1:]):
        return False  # a database driver that cannot take the value: MLflow reports it as its own failure
    code = getattr(error, "get_http_status_code", lambda: 0)()
    return code >= 500 or code in _WAIT_STATUSES or type(error).__module__.startswith("sqlalchemy")


def _answer(error: Exception) -> tuple[int | None, Mapping[str, str]]:
    """Status and headers of the HTTP answer behind an error; none where there was no answer.

    Neither MLflow's exceptions nor urllib3's carry the answer, so it is looked for in the frames that raised them.
    Where those change, the status is that of MLflow's error code and the wish to be left alone is not heard.
    """
    for cause in _chain(error):
        for response in (getattr(cause, "response", None), *_locals_named_response(cause)):
            status = getattr(response, "status_code", None) or getattr(response, "status", None)
            if isinstance(status, int) and status >= 400:
                return status, response.headers
    return None, {}


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that led to it."""
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or following.__context__


def _locals_named_response(error: BaseException) -> Iterator[Any]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_locals.get("response")
        trace = trace.tb_next


def _seconds(wish: str) -> float | None:
    """The value of a Retry-After header in seconds: a number, or the date until which to wait."""
    with contextlib.suppress(ValueError):
        return max(float(wish), 0.0)
    with contextlib.suppress(ValueError, TypeError):
        return max(parsedate_to_datetime(wish).timestamp() - time.time(), 0.0)
    return None


def client_environment() -> dict[str, str]:
    """Settings of the MLflow client for a process that delivers: one bounded try, the breaker does the waiting."""
    return {
        _TIMEOUT: os.environ.get(_TIMEOUT, "10"),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """A server may take its time to store a big file before it answers."""
    before = os.environ.get(_TIMEOUT)
    os.environ[_TIMEOUT] = str(max(int(before or 0), _UPLOAD_SECONDS))
    try:
        yield
    finally:
        os.environ.pop(_TIMEOUT)
        if before is not None:
            os.environ[_TIMEOUT] = before


@contextlib.contextmanager
def short_tries() -> Iterator[None]:
    """MLflow's retries are settings of the process: short ones for the body, the caller's own again behind it."""
    wanted = client_environment()
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
