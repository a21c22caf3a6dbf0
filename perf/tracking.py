"""What tracking costs, beside naive fluent logging and MLflow's async logging, on the machine that it is run on.

    python perf/tracking.py            everything, about a quarter of an hour on two quiet cores, 3 GB of disk
    python perf/tracking.py --quick    the same rows from few repeats: to see that it works, not to be quoted
    python perf/tracking.py --only calls --only requests

Needs the extra `quickstart` (the backbone of the training). CPU is counted in CPU-seconds; wall times say little on a
machine that does something else meanwhile.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Before anything imports a library that reads them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
os.environ["NERTRAIL_UPLOADER"] = "process"

from measuring import Row, show
from servers import mlflow_server


@dataclass(frozen=True)
class Size:
    """How much of everything is measured."""

    calls: int
    pause_s: float
    fluent_calls: int
    steps: int
    step_s: float
    documents: int
    starts: int
    points: tuple[int, ...]
    megabytes: tuple[int, ...]


FULL = Size(5000, 1.0, 200, 300, 0.03, 2500, 3, (100_000, 1_000_000), (100, 1000))
QUICK = Size(500, 0.05, 10, 20, 0.05, 100, 1, (2_000, 20_000), (1, 20))


def calls(uri: str, folder: Path, size: Size) -> list[Row]:
    from calls import floor, ours, theirs

    own = ours(uri, folder, size.calls, size.pause_s)
    return floor(folder, size.calls, size.pause_s) + own + theirs(uri, folder, size.fluent_calls)


def requests(uri: str, folder: Path, size: Size) -> list[Row]:
    from calls import requests as measure

    return measure(uri, folder, size.steps, size.step_s)


def training(uri: str, folder: Path, size: Size) -> list[Row]:
    from steps import measure

    return measure(uri, folder, size.documents)


def start(uri: str, folder: Path, size: Size) -> list[Row]:
    from delivery import start as measure

    return measure(uri, folder, size.starts)


def sync(uri: str, folder: Path, size: Size) -> list[Row]:
    from delivery import sync_rows

    return sync_rows(uri, folder, size.points, size.megabytes)


PARTS: dict[str, Callable[[str, Path, Size], list[Row]]] = {
    "calls": calls,
    "requests": requests,
    "training": training,
    "start": start,
    "sync": sync,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repeats")
    parser.add_argument("--only", action="append", choices=PARTS, help="one part; repeatable")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="nertrail-perf-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with mlflow_server(folder / "server") as uri:
            for part in arguments.only or PARTS:
                (folder / part).mkdir()
                rows = PARTS[part](uri, folder / part, QUICK if arguments.quick else FULL)
                print(f"\n{part} (load average {os.getloadavg()[0]:.1f})\n")
                show(rows)
                sys.stdout.flush()


if __name__ == "__main__":
    main()
