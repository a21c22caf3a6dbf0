"""How MLflow's client behaves: its errors in our terms, and its settings, which belong to the whole process."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from nertrail.tracking.protocol import Rejected, Unreachable

UNAUTHORISED = 401
_WAIT_STATUSES = (UNAUTHORISED, 408, 425, 429)
_DOORKEEPERS = (403, 404, 405)  # what an ingress says, too, whose server is away
_NO_SERVER = "this does not look like an MLflow server that we may use"
_UPLOAD_SECONDS = 120
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"


class Unauthorised(Unreachable):
    """The server does not know our credentials, any more or yet."""


class Barred(Unreachable):
    """Whoever answers is no MLflow server, or lets nobody through to it: that says nothing of the record."""


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
        raise Unreachable(f"{_NO_SERVER}: {error}") from error


def _translation(error: Exception) -> Unreachable | Rejected:
    problem = f"{type(error).__name__}: {str(error)[:500]}"
    status, headers, by_mlflow = _answer(error)
    if status == UNAUTHORISED:
        return Unauthorised(problem, for_all=True)
    if status in _DOORKEEPERS and not by_mlflow:
        return Barred(f"{_NO_SERVER}: {problem}", for_all=True)
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


class _Answer(NamedTuple):
    """The HTTP answer behind an error; `by_mlflow`: it is an error of MLflow's own, which only it words so."""

    status: int | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    by_mlflow: bool = True


def _answer(error: Exception) -> _Answer:
    """The answer behind an error, an empty one where there was none.

    Neither MLflow's exceptions nor urllib3's carry the answer, so it is looked for in the frames that raised them.
    Where those change, the status is that of MLflow's error code and the wish to be left alone is not heard.
    """
    for cause in _chain(error):
        for response in (getattr(cause, "response", None), *_locals_named_response(cause)):
            status = getattr(response, "status_code", None) or getattr(response, "status", None)
            if isinstance(status, int) and status >= 400:
                return _Answer(status, response.headers, _is_of_mlflow(response))
    return _Answer()


def _is_of_mlflow(response: Any) -> bool:
    try:
        content = json.loads(getattr(response, "text", "") or getattr(response, "data", ""))
    except (ValueError, TypeError, OSError):  # no JSON, or a body that cannot be read any more
        return False
    return isinstance(content, dict) and "error_code" in content


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
        "PGCONNECT_TIMEOUT": os.environ.get("PGCONNECT_TIMEOUT", "10"),  # every PostgreSQL driver on libpq heeds it
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
