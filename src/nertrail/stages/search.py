"""The search of a sweep: spaces, samplers, pruners and the study's storage, as Optuna objects."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from nertrail.config import Misplaced, Model
from nertrail.errors import ConfigError
from nertrail.numbers import Count, CountOrZero, NotNegative, Number, Positive, Whole
from nertrail.records import read_json, write_json
from nertrail.rundir import check_writable
from nertrail.tracking.redaction import without_password

if TYPE_CHECKING:
    import optuna

    from nertrail.stages.sweep import SweepConfig


class Choice(Model):
    """One of a list."""

    type: Literal["choice"]
    values: tuple[str | int | float | bool | None, ...] = pydantic.Field(min_length=1)

    def limits(self) -> tuple[Any, ...]:
        """All values: what holds for them holds for the dimension."""
        return self.values

    def allows(self, value: Any) -> bool:
        return value in self.values

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        return trial.suggest_categorical(name, list(self.values))


class _Range(Model):
    """Numbers from low to high, both included."""

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> _Range:
        low, high = getattr(self, "low", 0), getattr(self, "high", 0)
        if low > high:
            raise ValueError(f"low {low} is above high {high}")
        if not self._on_step(high):
            raise ValueError(f"no number of steps of {getattr(self, 'step', None)} leads from {low} to {high}")
        return self

    def limits(self) -> tuple[Any, ...]:
        """Both ends: what holds for them holds for all between."""
        return getattr(self, "low", 0), getattr(self, "high", 0)

    def allows(self, value: Any) -> bool:
        low, high = self.limits()
        return isinstance(value, int | float) and low <= value <= high and self._on_step(value)

    def _on_step(self, value: float) -> bool:
        step = getattr(self, "step", None)
        steps = float(value - getattr(self, "low", 0)) / step if step else 0.0
        return bool(abs(steps - round(steps)) < 1e-9 * max(1.0, abs(steps)))


class Uniform(_Range):
    """A float from low to high, both included, optionally in steps."""

    type: Literal["uniform"]
    low: Number
    high: Number
    step: Positive | None = None

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        return trial.suggest_float(name, self.low, self.high, step=self.step)


class LogUniform(_Range):
    """A float from low to high, uniform in its logarithm."""

    type: Literal["loguniform"]
    low: Positive
    high: Positive

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        return trial.suggest_float(name, self.low, self.high, log=True)


class Int(_Range):
    """An integer from low to high, both included, in steps or uniform in its logarithm."""

    type: Literal["int"]
    low: Whole
    high: Whole
    step: Count = 1
    log: bool = False

    @pydantic.model_validator(mode="after")
    def _has_a_logarithm(self) -> Int:
        if self.log and (self.step != 1 or self.low < 1):
            raise ValueError(f"log needs a low of at least 1 and no step, not low {self.low} and step {self.step}")
        return self

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        return trial.suggest_int(name, self.low, self.high, step=self.step, log=self.log)


Dimension = Annotated[Choice | Uniform | LogUniform | Int, pydantic.Field(discriminator="type")]


class PrunerConfig(Model):
    """When a trial is stopped early. `bandit` stops one whose value is worse than the best by more than the slack."""

    type: Literal["median", "hyperband", "bandit", "none"] = "none"
    startup_trials: CountOrZero | None = None
    warmup_steps: CountOrZero = 0
    slack: NotNegative = 0.1

    @pydantic.model_validator(mode="after")
    def _is_heeded(self) -> PrunerConfig:
        heeded = {"median": ("startup_trials", "warmup_steps"), "bandit": ("startup_trials", "warmup_steps", "slack")}
        for name in ("startup_trials", "warmup_steps", "slack"):
            ignored = name not in heeded.get(self.type, ())
            if ignored and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"the pruner {self.type} has no {name}; leave it out")
        return self

    def build(self, max_trials: int) -> optuna.pruners.BasePruner:
        import optuna

        from nertrail.stages.bandit import BanditPruner

        startup = startup_trials(max_trials) if self.startup_trials is None else self.startup_trials
        match self.type:
            case "median":
                return optuna.pruners.MedianPruner(startup, self.warmup_steps)
            case "hyperband":
                return optuna.pruners.HyperbandPruner()
            case "bandit":
                return BanditPruner(self.slack, startup, self.warmup_steps)
            case "none":
                return optuna.pruners.NopPruner()


class StorageConfig(Model):
    """Where the study lives. `url` is for postgresql, and optional for sqlite; the others lie in the run dir."""

    type: Literal["memory", "sqlite", "journal", "postgresql"] = "journal"
    url: str | None = None

    @pydantic.model_validator(mode="after")
    def _has_url(self) -> StorageConfig:
        if self.type == "postgresql" and not self.url:
            raise ValueError("a postgresql storage needs its url")
        if self.url is not None and not re.match(f"{self.type}(\\+\\w+)?://", self.url):
            shown = without_password(self.url)
            raise Misplaced(f"{shown!r} is no {self.type} url, which begins with {self.type}://", ("url",))
        return self

    def check(self) -> None:
        """Raise ConfigError where no study can be kept; creates nothing."""
        if self.url is None:
            return
        import sqlalchemy

        try:
            engine = sqlalchemy.create_engine(self.url)
            if self.type == "postgresql":
                engine.connect().close()
        except (sqlalchemy.exc.SQLAlchemyError, ImportError, ValueError) as error:
            found = f"can't be used: {str(error).splitlines()[0]}"
            remedy = "correct it, start the server, or install its driver (pip install psycopg2-binary)"
            place = f"sweep.storage.url {without_password(self.url)}"
            raise ConfigError(found, place=place, remedy=remedy) from None
        if self.type == "sqlite" and engine.url.database not in (None, "", ":memory:"):
            check_writable(Path(engine.url.database).parent, "sweep.storage.url")

    def path(self, folder: Path, study_name: str) -> str:
        """The place of the study, as shown in the run."""
        places = {"memory": "memory", "journal": str(folder / f"{study_name}.log")}
        default = f"sqlite:///{(folder / 'studies.db').absolute()}"
        return places.get(self.type) or self.url or default

    def study_name(self, folder: Path, base: str) -> str:
        """The name of the folder's study. Behind a url, where other folders keep theirs, it ends in a mark of the
        folder's own, which goes with the folder: a sweep that begins anew never finds trials of other data.
        """
        if self.url is None:
            return base
        path = folder / "study.json"
        if not path.is_file():
            write_json(path, {"name": f"{base}-{uuid.uuid4().hex[:8]}"})
        return str(read_json(path)["name"])

    def build(self, folder: Path, study_name: str) -> optuna.storages.BaseStorage:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage

        folder.mkdir(parents=True, exist_ok=True)
        place = self.path(folder, study_name)
        if self.type == "memory":
            return optuna.storages.InMemoryStorage()
        if self.type == "journal":
            return JournalStorage(JournalFileBackend(place, JournalFileOpenLock(place)))
        return optuna.storages.RDBStorage(place)


def startup_trials(max_trials: int) -> int:
    """How many trials end before a pruner speaks: a third, at least 3, at most 10."""
    return min(10, max(3, max_trials // 3))


def is_random(number: int) -> bool:
    """Whether the trial of this number is drawn without a look at the others: the first three, then every third, up to
    ten. It depends on the number alone, so that a study which is extended goes on as a longer one would have.
    """
    return number < 3 or (9 <= number < 30 and number % 3 == 0)


def sampler(kind: str, seed: int, workers: int = 1) -> optuna.samplers.BaseSampler:
    """The sampler; among several workers one that keeps away from what the others are at."""
    import optuna

    from nertrail.stages.sampling import PerTrialSampler

    def make(number: int, seed: int) -> optuna.samplers.BaseSampler:
        if kind == "random" or is_random(number):
            return optuna.samplers.RandomSampler(seed=seed)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=3, constant_liar=workers > 1)

    return PerTrialSampler(make, seed)


def suggest(trial: optuna.Trial, space: Mapping[str, Dimension]) -> dict[str, Any]:
    """One value for each dimension, in the order of the file."""
    return {name: dimension.suggest(trial, name) for name, dimension in space.items()}


def open_study(
    config: SweepConfig, folder: Path, study_name: str, seed: int, worker: int | None = None
) -> optuna.Study:
    """The study of this name, with the known-good trials enqueued when it is new; as `worker` sees it, if any."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=config.storage.build(folder, study_name),
        study_name=study_name,
        direction=config.objective.goal,
        load_if_exists=True,
        sampler=sampler(config.sampler, seed, config.workers),
        pruner=config.pruner.build(config.max_trials),
    )
    if not study.trials and worker is None:
        for values in config.enqueue:
            study.enqueue_trial(dict(values))
    return study
