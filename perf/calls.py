"""What a stage sees of one call, and how many requests one run makes: ours, naive fluent logging, MLflow's async."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from measuring import Row, call_row, seconds_of, until
from servers import counting_proxy, free_port

from nertrail.records import Artifact, RunRecord
from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker
from nertrail.tracking.sync import outlook

PARAMS = {f"param_{number}": f"value of {number}" for number in range(10)}
RESULTS = {f"metric_{number}": 0.5 for number in range(18)}  # as many as a benchmark of two batch sizes has
TAGS = {f"tag_{number}": "a short text" for number in range(7)}


def floor(folder: Path, n: int, pause: float) -> list[Row]:
    """What the machine itself takes for a line of JSON appended to a file: after a pause, all is out of its caches."""
    with (folder / "floor.jsonl").open("ab", buffering=0) as file:

        def one(step: int) -> None:
            file.write(json.dumps({"run": "r", "points": [["loss", 1.0 / (step + 1), step]]}).encode() + b"\n")

        back, paused = seconds_of(one, n), seconds_of(one, max(n // 50, 20), pause)
    what = "a line of JSON to a file"
    return [call_row(f"{what}, back to back", back), call_row(f"{what}, every {pause:g} s", paused)]


def ours(uri: str, folder: Path, n: int, pause: float) -> list[Row]:
    """Calls of a tracker, the uploader at work beside it."""
    places = (("server", uri), ("dead server", f"http://127.0.0.1:{free_port()}"))
    return [row for place, where in places for row in _ours_at(place, where, folder, n, pause)]


def _ours_at(place: str, uri: str, folder: Path, n: int, pause: float) -> list[Row]:
    tracker = MLflowTrainingTracker("calls", tracking_uri=uri, run_dir=folder / place.replace(" ", "-"), linger_s=0)
    run = tracker.start_training_run("r", "mini")
    five, record = {f"eval_{number}": 1.0 for number in range(5)}, RunRecord(params=PARAMS, tags=TAGS)

    def one(step: int) -> None:
        run.log_metrics({"loss": 1.0 / (step + 1)}, step=step)

    def begin_and_end(_: int) -> None:
        tracker.start_training_run("short", "mini").end()

    taken = {
        "one metric, back to back": (seconds_of(one, n), "p50 25"),
        f"one metric every {pause:g} s": (seconds_of(one, max(n // 50, 20), pause), "p99 100"),
        "five metrics": (seconds_of(lambda step: run.log_metrics(five, step=step), n // 5), ""),
        "10 params and 7 tags": (seconds_of(lambda _: run.log(record), n // 5), ""),
        "begin and end of a run (barriers)": (seconds_of(begin_and_end, n // 50), ""),
    }
    run.end()
    tracker.close()
    return [call_row(f"ours, {place}: {what}", values, goal) for what, (values, goal) in taken.items()]


def theirs(uri: str, folder: Path, n: int) -> list[Row]:
    """Calls of MLflow's fluent API. A dead server is left out: one call takes minutes there."""
    import mlflow

    rows = []
    for place, where in (("server", uri), ("sqlite", f"sqlite:///{folder}/fluent.db")):
        mlflow.set_tracking_uri(where)
        mlflow.set_experiment("fluent")
        with mlflow.start_run():
            taken = seconds_of(lambda step: mlflow.log_metric("loss", 1.0, step=step), n)
            rows.append(call_row(f"fluent, {place}: one metric", taken))
        with mlflow.start_run():
            taken = seconds_of(lambda step: mlflow.log_metric("loss", 1.0, step=step, synchronous=False), n)
            rows.append(call_row(f"MLflow async, {place}: one metric", taken))
            began = time.perf_counter()
            mlflow.flush_async_logging()
            late = time.perf_counter() - began
            rows.append(Row(f"MLflow async, {place}: wait at the end", f"{late:.2f} s", "-", 1))
    return rows


def requests(uri: str, folder: Path, steps: int, step_s: float) -> list[Row]:
    """Requests of a benchmark run and of a training run of so many steps."""
    rows = []
    with counting_proxy(uri) as (url, counts):
        for name, log in (("ours", _ours), ("fluent", _fluent(True)), ("MLflow async", _fluent(False))):
            for kind, length in (("benchmark", 0), (f"{steps}-step training", steps)):
                counts.clear()
                began = time.perf_counter()
                log(url, folder / f"requests-{name}-{length}", length, step_s)
                taken = time.perf_counter() - began
                goal = f"{7 + taken:.0f}: 7, and one a second" if name == "ours" else ""
                rows.append(_request_row(f"requests, {name}: {kind}", counts, taken, goal))
    return rows


def _request_row(what: str, counts: Counter[str], taken: float, goal: str) -> Row:
    return Row(what, f"{counts['other']}, and {counts['artifact']} for artifacts", f"in {taken:.1f} s", 1, goal)


def _ours(uri: str, run_dir: Path, steps: int, step_s: float) -> None:
    tracker = MLflowTrainingTracker("requests", tracking_uri=uri, run_dir=run_dir, linger_s=0)
    with tempfile.TemporaryDirectory() as name, tracker.start_training_run("r", "mini") as run:
        run.log(RunRecord(params=PARAMS, tags=TAGS))
        for step in range(steps):
            run.log_metrics({"loss": 1.0, "rate": 0.1, "norm": 2.0}, step=step)
            time.sleep(step_s)
        path = Path(name) / "result.json"
        path.write_text("{}")
        run.log(RunRecord(metrics=RESULTS, artifacts=(Artifact(path, path.name),)))
    tracker.flush(60)
    tracker.close()
    until(lambda: outlook(run_dir, uri).complete)


def _fluent(synchronous: bool) -> Callable[[str, Path, int, float], None]:
    """The same, value by value."""

    def log(uri: str, _: Path, steps: int, step_s: float) -> None:
        import mlflow

        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment("requests")
        with mlflow.start_run():
            for key, value in PARAMS.items():
                mlflow.log_param(key, value, synchronous=synchronous)
            for key, value in TAGS.items():
                mlflow.set_tag(key, value, synchronous=synchronous)
            for step in range(steps):
                for key in ("loss", "rate", "norm"):
                    mlflow.log_metric(key, 1.0, step=step, synchronous=synchronous)
                time.sleep(step_s)
            for key, value in RESULTS.items():
                mlflow.log_metric(key, value, synchronous=synchronous)
            mlflow.log_dict({}, "result.json")
            if not synchronous:
                mlflow.flush_async_logging()

    return log
