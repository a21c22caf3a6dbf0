"""Work for worker processes, importable by them: trials that play a part by their number."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

from nertrail.errors import DataError
from nertrail.execution.workers import Share, run_share


def open_study(path: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path))))
    return optuna.create_study(storage=storage, study_name="s", direction="maximize", load_if_exists=True)


@dataclass(frozen=True)
class Play:
    """Trial `killed` dies of kill -9, `pruned` is pruned, `failed` runs out of memory, `refused` finds bad input."""

    path: Path
    killed: int = -1
    pruned: int = -1
    failed: int = -1
    refused: int = -1
    broken: bool = False

    def __call__(self, share: Share) -> None:
        if self.broken:
            raise SystemExit(7)
        run_share(open_study(self.path), self.objective, share)

    def objective(self, trial: optuna.Trial) -> float:
        trial.set_user_attr("pid", os.getpid())
        trial.set_user_attr("said", os.environ.get("SAID"))
        if trial.number == self.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        if trial.number == self.pruned:
            raise optuna.TrialPruned
        if trial.number == self.failed:
            raise MemoryError
        if trial.number == self.refused:
            raise DataError("is wrong", place="x", remedy="mend it")
        return float(trial.number)
