"""Trials in worker processes that share one study. A worker that dies costs the trial it was at, not the sweep."""

from __future__ import annotations

import fcntl
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nertrail.errors import InputError, StageError
from nertrail.execution.clock import Clock
from nertrail.execution.local import Objective, interrupted, run_trial

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)
WORKER = "worker"  # the trial's attribute that names the worker at it
GRACE_SECONDS = 10.0  # for a worker that is told to stop


@dataclass(frozen=True)
class Share:
    """What one worker is to do.

    Attributes:
        left: ids of trials that an earlier session left running; taken up first.
        deadline: in seconds of `time.monotonic`, None for no limit.
        turn: a file that whoever asks for a trial locks, so that the count stays right.
    """

    worker: int
    max_trials: int
    deadline: float | None
    turn: Path
    session: str
    began: float
    left: tuple[int, ...] = ()


Work = Callable[[Share], None]
"""A worker's whole work; it is pickled, so a function of a module or an object of plain data."""


def run_share(study: optuna.Study, objective: Objective, share: Share) -> None:
    """A worker's trials: those left over, then new ones until the study has enough or the time is up."""
    from optuna.trial import Trial

    clock = Clock(study, share.session, share.began)
    for number in share.left:
        _run(study, Trial(study, number), objective, share)
    while (trial := _next(study, share)) is not None:
        _run(study, trial, objective, share)
        clock.tick()


def run_in_workers(
    study: optuna.Study,
    work: Work,
    count: int,
    max_trials: int,
    seconds: float | None,
    clock: Clock,
    folder: Path,
    environment: Mapping[str, str],
) -> None:
    """Let `count` processes run trials of the study until `max_trials` have begun, over all sessions, or time is up.

    Args:
        seconds: wall time this study may still take, None for no limit.
        environment: variables that the workers get.

    Raises:
        InputError: what a worker found wrong with the user's input; the others are stopped.
        StageError: a worker ended before it had a trial.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    common = Share(0, max_trials, deadline, folder / "turn.lock", clock.session, clock.began)
    left = [trial._trial_id for trial in interrupted(study)]
    crew = _Crew(study, work, dict(environment))
    try:
        for worker in range(count):
            crew.start(replace(common, worker=worker, left=tuple(left[worker::count])))
        while crew.members:
            crew.look()
    finally:
        crew.stop()
        clock.tick()


class _Crew:
    """The workers that live."""

    def __init__(self, study: optuna.Study, work: Work, environment: dict[str, str]) -> None:
        self._study, self._work, self._environment = study, work, environment
        self._context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        self.members: dict[BaseProcess, tuple[Share, Connection]] = {}

    def start(self, share: Share) -> None:
        here, there = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_main, args=(self._work, share, there, self._environment))
        process.start()
        there.close()
        self.members[process] = (share, here)

    def look(self) -> None:
        """Wait until a worker has ended, and see why."""
        ended = wait([process.sentinel for process in self.members])
        for process in [process for process in self.members if process.sentinel in ended]:
            process.join()
            share, report = self.members.pop(process)
            self._judge(process.exitcode or 0, share, report)

    def stop(self) -> None:
        """End those that still work; their trials stay open, to be taken up again."""
        for process in self.members:
            process.terminate()
        for process in self.members:
            process.join(GRACE_SECONDS)
            process.kill()
            process.join()

    def _judge(self, code: int, share: Share, report: Connection) -> None:
        error = _received(report)
        if error is not None:
            raise error
        if code == 0:
            return
        lost = self._at_work(share.worker)
        if not lost:
            raise StageError(f"worker {share.worker} ended with exit code {code} before it had a trial")
        from optuna.trial import TrialState

        for trial in lost:
            log.warning("trial %d failed: its worker ended with exit code %d", trial.number, code)
            self._study.tell(trial.number, state=TrialState.FAIL)
        rest = tuple(number for number in share.left if number not in {trial._trial_id for trial in lost})
        self.start(replace(share, left=self._open(rest)))

    def _at_work(self, worker: int) -> list[optuna.trial.FrozenTrial]:
        from optuna.trial import TrialState

        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial for trial in running if trial.user_attrs.get(WORKER) == worker]

    def _open(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        running = {trial._trial_id for trial in interrupted(self._study)}
        return tuple(number for number in numbers if number in running)


def _run(study: optuna.Study, trial: optuna.Trial, objective: Objective, share: Share) -> None:
    trial.set_user_attr(WORKER, share.worker)
    run_trial(study, trial, objective)


def _next(study: optuna.Study, share: Share) -> optuna.Trial | None:
    """A new trial, None if the study has enough or the time is up."""
    from optuna.trial import TrialState

    if share.deadline is not None and time.monotonic() >= share.deadline:
        return None
    with _locked(share.turn):
        begun = [trial for trial in study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]
        return study.ask() if len(begun) < share.max_trials else None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among the workers; the lock of one that dies is free."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _main(work: Work, share: Share, report: Connection, environment: Mapping[str, str]) -> None:
    """A worker's life: it ends with its work, on SIGTERM, and when its parent is gone."""
    os.environ.update(environment)
    signal.signal(signal.SIGTERM, _terminated)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work(share)
    except InputError as error:
        report.send(error)


def _terminated(_signal: int, _frame: Any) -> NoReturn:
    raise SystemExit(143)


def _end_with_parent() -> None:
    """Without its parent a worker would go on with trials that the next session takes up again."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _received(report: Connection) -> InputError | None:
    with report:
        try:
            error: InputError | None = report.recv() if report.poll() else None
        except EOFError:
            return None
        return error
