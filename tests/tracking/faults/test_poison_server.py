"""A real server that answers with 500 to one endpoint, one run or one artifact every time, and to all else as usual."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from proxy import Proxy

from export import export
from nertrail.cli.guard import NOT_DELIVERED
from nertrail.records import Artifact, RunRecord
from nertrail.tracking.destination import state_folder
from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.protocol import Point, RunStart
from nertrail.tracking.state import load_health, load_rejected
from nertrail.tracking.sync import status, sync

pytestmark = pytest.mark.server
ALWAYS = 10**9


@pytest.fixture
def proxy(mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setattr("nertrail.tracking.breaker._LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    made = Proxy(mlflow_server)
    made.fault, made.chance = "answer 500", 1.0
    yield made
    made.heal()
    made.refuse()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def uids(run_dir: Path) -> tuple[str, str]:
    """Two runs in one journal, begun; their uids are this test's own, since tests share the server."""
    uids = (f"first-{run_dir.parent.name}", f"second-{run_dir.parent.name}")
    journal = JournalBackend(run_dir)
    for uid in uids:
        journal.start(RunStart(uid, uid, "poison", 1))
    journal.close()
    return uids


def go_on(run_dir: Path, uids: tuple[str, str]) -> None:
    """Both runs record all that a run can hold, and end."""
    journal = JournalBackend(run_dir)
    for name in ("bad.json", "good.json"):
        (run_dir / name).write_text("{}")
    for uid in uids:
        for step in range(2):
            journal.log_metrics(uid, [Point("loss", 1 / (step + 1), step, 2 + step)])
        files = tuple(Artifact(run_dir / name, name) for name in ("bad.json", "good.json"))
        journal.log(uid, RunRecord({"lr": 1}, {"f1": 0.5}, {"t": "x"}, files), 50)
        journal.end(uid, "FINISHED", 60)
    journal.close()


def expected(found: Any, uids: tuple[str, str], without: str) -> Any:
    """What is there where all of it is, without what the poison takes."""
    first, second = ({**found[uid][0]} for uid in uids)
    for run in (first, second) if without in ("log-batch", "bad.json") else (first,):
        if without == "bad.json":
            run["artifacts"] = {name: sha for name, sha in run["artifacts"].items() if name != "bad.json"}
        else:
            run |= {"params": {}, "history": [], "tags": {k: v for k, v in run["tags"].items() if k != "t"}}
    return {uids[0]: [first], uids[1]: [second]}


@pytest.mark.parametrize(("poison", "set_aside"), [("log-batch", 6), ("bad.json", 2), ("first run", 4)])
def test_one_thing_that_always_fails_holds_nothing_up(
    poison: str, set_aside: int, proxy: Proxy, run_dir: Path, uids: tuple[str, str], store: str
) -> None:
    assert sync(run_dir, proxy.url).complete
    run_id = status(run_dir, proxy.url)[proxy.url][0].run_id
    go_on(run_dir, uids)
    proxy.only, proxy.faults = run_id if poison == "first run" else poison, ALWAYS
    receipt = sync(run_dir, proxy.url)
    folder = state_folder(run_dir, proxy.url)
    assert (receipt.pending, receipt.dropped, load_health(folder).outage) == (0, set_aside, 0)
    assert all("500" in entry["why"] and "times" in entry["why"] for entry in load_rejected(folder))
    assert sum(row.refused for row in status(run_dir, proxy.url)[proxy.url]) == set_aside

    proxy.faults = 0
    assert sync(run_dir, store).complete
    whole = export(store, set(uids))
    found = export(proxy.url, set(uids))
    if poison != "first run":
        assert found == expected(whole, uids, poison)
    assert found[uids[1]] == whole[uids[1]] or poison != "first run"
    assert sync(run_dir, proxy.url, retry_rejected=True).complete
    assert export(proxy.url, set(uids)) == whole


def test_a_server_whose_writes_fail_is_away_though_it_can_be_read(
    proxy: Proxy, run_dir: Path, uids: tuple[str, str]
) -> None:
    """As one whose disk is full."""
    assert sync(run_dir, proxy.url).complete
    go_on(run_dir, uids)
    proxy.fault, proxy.faults, proxy.only = "answer 500", ALWAYS, "POST"
    for _ in range(2):
        receipt = sync(run_dir, proxy.url)
        assert (receipt.dropped, receipt.pending) == (0, 8)
    proxy.faults = 0
    assert sync(run_dir, proxy.url).complete


@pytest.mark.parametrize("fault", ["answer 500", "reset"])
def test_a_store_of_artifacts_that_is_away_is_waited_for_while_all_else_arrives(
    fault: str, proxy: Proxy, run_dir: Path, uids: tuple[str, str], store: str
) -> None:
    go_on(run_dir, uids)
    proxy.fault, proxy.faults, proxy.only = fault, ALWAYS, "/mlflow-artifacts/"
    for _ in range(2):
        receipt = sync(run_dir, proxy.url)
        assert (receipt.dropped, receipt.pending) == (0, 2) and "uploads that wait: 4" in receipt.why
    proxy.faults = 0
    assert sync(run_dir, store).complete
    whole, found = export(store, set(uids)), export(proxy.url, set(uids))
    assert found == {uid: [{**runs[0], "artifacts": {}}] for uid, runs in whole.items()}
    assert sync(run_dir, proxy.url).complete
    assert export(proxy.url, set(uids)) == whole


def test_the_command_tells_how_to_try_again(proxy: Proxy, run_dir: Path, uids: tuple[str, str]) -> None:
    from typer.testing import CliRunner

    from nertrail.cli import app

    go_on(run_dir, uids)
    proxy.only, proxy.faults = "bad.json", ALWAYS
    done = CliRunner().invoke(app, ["sync", str(run_dir), "--to", proxy.url])
    assert done.exit_code == NOT_DELIVERED
    assert "0 pending, 2 dropped" in done.output and "--retry-rejected" in done.output
    proxy.faults = 0
    done = CliRunner().invoke(app, ["sync", str(run_dir), "--to", proxy.url, "--retry-rejected", "--verify"])
    assert done.exit_code == 0 and "2 of 2 runs" in done.output, done.output
