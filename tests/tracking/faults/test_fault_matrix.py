"""A server that misbehaves in every way known to us: the stage notices nothing, and in the end nothing is missing."""

from __future__ import annotations

import base64
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from proxy import Proxy, connections_of

from export import export
from nertrail.tracking.destination import state_folder
from nertrail.tracking.liveness import holder
from nertrail.tracking.mlflow_client import client_environment
from nertrail.tracking.mlflow_tracker import MLflowPipelineTracker, MLflowTrainingTracker
from nertrail.tracking.state import load_health
from nertrail.tracking.sync import sync
from nertrail.tracking.tracker import Tracker
from nertrail.tracking.uploader import follow
from tracking_fixtures import free_port, running_server

pytestmark = pytest.mark.server
# fault → how often it is met
FAULTS = {
    "answer 500": 6,
    "answer 403": 6,
    "answer 404": 6,
    "answer 405": 6,
    "answer 429": 3,
    "hang": 3,
    "reset": 6,
    "tear": 3,
    "cut": 6,
    "lose": 6,
    "slow": 4,
}

BUDGET_SECONDS = 4.0
MARGIN_SECONDS = 4.0  # of a busy machine

connections: list[str] = []
sys.addaudithook(connections_of(threading.get_ident(), connections))


@pytest.fixture
def proxy(mlflow_server: str) -> Iterator[Proxy]:
    made = Proxy(mlflow_server)
    yield made
    made.heal()
    made.refuse()


@pytest.fixture
def uploader(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts a thread that does what the uploader process does, with short pauses and one second of patience."""
    for name, value in client_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr("nertrail.tracking.mlflow_client._UPLOAD_SECONDS", 1)
    monkeypatch.setattr("nertrail.tracking.uploader.INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr("nertrail.tracking.breaker._LONGEST_PAUSE_SECONDS", 0.05)
    stop, threads = threading.Event(), []

    def start(run_dir: Path, uri: str) -> threading.Thread:
        threads.append(threading.Thread(target=follow, args=(run_dir, uri, 60.0, stop)))
        threads[-1].start()
        return threads[-1]

    yield start
    stop.set()
    for thread in threads:
        thread.join()


def stage(run_dir: Path, uri: str, begun: Callable[[], object], ended: Callable[[Tracker], object]) -> set[str]:
    """A pipeline run and a training run below it, with all that a run can hold.

    Calls `begun` once it writes, and `ended` with a tracker before it lets go of the journal.
    """
    above = MLflowPipelineTracker("faults", tracking_uri=uri, run_dir=run_dir)
    with above.start_pipeline_run("pipeline") as pipeline:
        begun()
        (run_dir / "metrics.json").write_text("{}")
        tracker = MLflowTrainingTracker("faults", tracking_uri=uri, run_dir=run_dir, parent=pipeline)
        with tracker.start_training_run("training", "mini") as run:
            tracker.log_training_parameters({"learning_rate": 3e-4, "epochs": 2}, random_seed=1)
            for step in range(30):
                run.log_metrics({"eval_loss": 1 / (step + 1), "f1": float("nan")}, step=step)
            tracker.log_training_artifacts(metrics_json_path=run_dir / "metrics.json")
    ended(above)
    tracker.close()
    above.close()
    return {pipeline.uid, run.uid}


@contextlib.contextmanager
def patient() -> Iterator[None]:
    """Behind the faults a busy machine may take its time to answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
        yield


def check(run_dir: Path, uri: str, store: str, uids: set[str]) -> None:
    """All of it is there, once, as in a store that was never away."""
    with patient():
        receipt = sync(run_dir, uri)
        assert receipt.complete and receipt.waiting == 0, receipt
        assert sync(run_dir, store).complete
        found = export(uri, uids)
    assert found == export(store, uids) and set(found) == uids
    assert all(len(runs) == 1 and runs[0]["status"] == "FINISHED" for runs in found.values())


def play(run_dir: Path, proxy: Proxy, uploader: Any) -> tuple[set[str], threading.Thread]:
    """The stage beside its uploader; the stage opens no connection."""
    threads: list[threading.Thread] = []
    connections.clear()
    uids = stage(run_dir, proxy.url, lambda: threads.append(uploader(run_dir, proxy.url)), lambda tracker: None)
    assert connections == []
    return uids, threads[0]


def wait_for(state: str, run_dir: Path, uri: str) -> None:
    deadline = time.monotonic() + 60
    while load_health(state_folder(run_dir, uri)).state != state:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def join(thread: threading.Thread) -> None:
    thread.join(100)
    assert not thread.is_alive()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_the_stage_nothing_and_loses_nothing(
    fault: str, proxy: Proxy, uploader: Any, tmp_path: Path, store: str
) -> None:
    proxy.fault, proxy.faults = fault, FAULTS[fault]
    uids, thread = play(tmp_path / "run", proxy, uploader)
    join(thread)
    assert len(proxy.served) == FAULTS[fault], "the fault was not met as often as planned"
    check(tmp_path / "run", proxy.url, store, uids)


def test_a_server_that_wants_to_be_left_alone_is_left_alone(
    proxy: Proxy, uploader: Any, tmp_path: Path, store: str
) -> None:
    proxy.fault, proxy.faults = "answer 429", 2  # with Retry-After: 1
    uids, thread = play(tmp_path / "run", proxy, uploader)
    join(thread)
    for served in proxy.served:
        following = [moment for moment, _ in proxy.requests if moment > served]
        assert min(following) - served >= 1.0
    check(tmp_path / "run", proxy.url, store, uids)


def test_a_server_that_is_not_there_is_waited_for(proxy: Proxy, uploader: Any, tmp_path: Path, store: str) -> None:
    proxy.refuse()
    uids, thread = play(tmp_path / "run", proxy, uploader)
    wait_for("waiting", tmp_path / "run", proxy.url)
    proxy.listen()
    join(thread)
    check(tmp_path / "run", proxy.url, store, uids)


def test_new_credentials_are_taken_up(
    proxy: Proxy, uploader: Any, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.credentials = "Basic " + base64.b64encode(b"me:new").decode()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "old")
    uids, thread = play(tmp_path / "run", proxy, uploader)
    wait_for("waiting", tmp_path / "run", proxy.url)
    assert proxy.strangers and not proxy.requests
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "new")
    join(thread)
    check(tmp_path / "run", proxy.url, store, uids)


def test_runs_that_are_made_after_all_are_closed_and_marked(
    proxy: Proxy, uploader: Any, tmp_path: Path, store: str
) -> None:
    """A request that is given up may still be carried out. What was delivered meanwhile stays where it is."""
    proxy.fault, proxy.faults, proxy.only, proxy.chance = "late", 2, "runs/create", 1.0
    uids, thread = play(tmp_path / "run", proxy, uploader)
    join(thread)
    proxy.heal()
    until_passed_on(proxy)
    (state_folder(tmp_path / "run", proxy.url) / "state.json").unlink()
    with patient():
        assert sync(tmp_path / "run", proxy.url).complete
        assert sync(tmp_path / "run", store).complete
        found, expected = export(proxy.url, uids), export(store, uids)
    ghosts = [run for runs in found.values() for run in runs if "duplicate_of" in run["tags"]]
    assert len(ghosts) == 2 and {run["status"] for run in ghosts} == {"KILLED"}
    assert {uid: [run for run in runs if run not in ghosts] for uid, runs in found.items()} == expected


def until_passed_on(proxy: Proxy) -> None:
    deadline = time.monotonic() + 60
    while proxy.passed_on_late < len(proxy.served):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.soak
@pytest.mark.parametrize("fault", [*FAULTS, "answer 401", "refuse", "none"])
def test_a_stage_beside_a_real_uploader_waits_no_longer_than_its_budget(
    fault: str, proxy: Proxy, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NERTRAIL_UPLOADER", "process")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    if fault == "refuse":
        proxy.refuse()
    elif fault != "none":
        proxy.fault, proxy.faults, proxy.chance = fault, 10**6, 1.0
    waited: list[float] = []

    def flush(tracker: Tracker) -> None:
        begun = time.monotonic()
        tracker.flush(BUDGET_SECONDS)
        waited.append(time.monotonic() - begun)

    connections.clear()
    uids = stage(tmp_path / "run", proxy.url, lambda: None, flush)
    assert connections == []
    assert waited[0] <= BUDGET_SECONDS + MARGIN_SECONDS
    if fault == "refuse":
        proxy.listen()
    proxy.heal()
    folder = state_folder(tmp_path / "run", proxy.url)
    deadline = time.monotonic() + 200
    while holder(folder / "lock"):
        assert time.monotonic() < deadline, load_health(folder)
        time.sleep(0.1)
    check(tmp_path / "run", proxy.url, store, uids)


@pytest.mark.soak
def test_a_server_that_is_killed_and_comes_back_is_missing_nothing(uploader: Any, tmp_path: Path, store: str) -> None:
    (tmp_path / "server").mkdir()
    port, run_dir = free_port(), tmp_path / "run"
    threads: list[threading.Thread] = []
    more: set[str] = set()
    with contextlib.ExitStack() as life:
        proxy = Proxy(life.enter_context(running_server(tmp_path / "server", port)))

        def go_on_without(_: Tracker) -> None:
            wait_for("delivering", run_dir, proxy.url)
            life.close()
            more.update(stage(run_dir, proxy.url, lambda: None, lambda _: wait_for("waiting", run_dir, proxy.url)))

        connections.clear()
        uids = stage(run_dir, proxy.url, lambda: threads.append(uploader(run_dir, proxy.url)), go_on_without)
        assert connections == []
    with running_server(tmp_path / "server", port):
        join(threads[0])
        check(run_dir, proxy.url, store, uids | more)
    proxy.refuse()
