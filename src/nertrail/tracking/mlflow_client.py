"""How MLflow's client behaves: its errors in our terms, and its settings, which belong to the whole process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from nertrail.tracking.protocol import Rejected, Unreachable

_WAIT_STATUSES = (401, 408, 429)
_UPLOAD_SECONDS = 120
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"


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
        kind = Unreachable if _may_work_later(error) else Rejected
        raise kind(f"{type(error).__name__}: {str(error)[:500]}") from error


def _may_work_later(error: Exception) -> bool:
    status = _http_status(error)
    if status is not None:
        return status in _WAIT_STATUSES or status >= 500
    return isinstance(error, OSError) or type(error).__module__.startswith("sqlalchemy")


def _http_status(error: Exception) -> int | None:
    """The status of an MLflow error or of a failed HTTP request; None for an error without one."""
    of_mlflow = getattr(error, "get_http_status_code", None)
    if of_mlflow is not None:
        return int(of_mlflow())
    status = getattr(getattr(error, "response", None), "status_code", None)
    return int(status) if status is not None else None


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
