"""Records a training of Hugging Face's Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsFloat

from transformers import TrainerCallback

from nertrail.records import Artifact, RunRecord
from nertrail.tracking import names
from nertrail.tracking.boundary import quietly
from nertrail.tracking.files import write_document
from nertrail.tracking.run import Run
from nertrail.tracking.trackers.training import MLflowTrainingTracker


class TransformersCallback(TrainerCallback):  # type: ignore[misc]
    """Adds what a Trainer logs to a run; nothing that goes wrong here reaches the training.

        trainer = Trainer(..., callbacks=[TransformersCallback(MLflowTrainingTracker("my-experiment"))])

    It joins the run that the tracker has open, and leaves that one open. Where there is none it starts one when the
    training begins and ends it with the training. Trainer tells no callback of an error: with the callback as a
    context manager around `trainer.train()`, its own run ends FAILED with the traceback, otherwise KILLED when the
    program ends.
    """

    def __init__(self, tracker: MLflowTrainingTracker, run_name: str = "{backbone}_{run_id}") -> None:
        self._tracker, self._run_name = tracker, run_name
        self._own: Run | None = None
        self._run: Run | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._own is not None:
            self._own.__exit__(kind, error, trace)

    def on_train_begin(self, args: Any, state: Any, _control: Any, model: Any = None, **_: Any) -> None:
        """Join the open run, or start one, and record what is trained with which arguments."""
        quietly(self._begin, args, state, model)

    def on_log(self, _args: Any, state: Any, _control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Record the numbers at the training's step."""
        quietly(self._log, state, logs)

    def on_train_end(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """End the run that was started here."""
        if self._own is not None:
            self._own.end()

    def _begin(self, args: Any, state: Any, model: Any) -> None:
        if not state.is_world_process_zero:
            return
        open_run = self._tracker.run
        if open_run is None or open_run.ended:
            open_run = self._own = self._start(model)
        self._run = open_run
        open_run.log(RunRecord(params=_params(args)))
        open_run.log_with_files(lambda folder: _arguments(args, folder))

    def _log(self, state: Any, logs: Mapping[str, Any] | None) -> None:
        if logs is not None and self._run is not None and state.is_world_process_zero:
            numbers = {key: value for key, value in logs.items() if isinstance(value, SupportsFloat)}
            self._run.log_metrics(numbers, step=state.global_step)

    def _start(self, model: Any) -> Run:
        config = getattr(model, "config", None)
        backbone = getattr(config, "name_or_path", "") or getattr(config, "model_type", "") or type(model).__name__
        return self._tracker.start_training_run(self._run_name, backbone)


def _arguments(args: Any, folder: Path) -> RunRecord:
    path = write_document(folder / "training_arguments.json", args.to_sanitized_dict())
    return RunRecord(artifacts=(Artifact(path, path.name),))


def _params(args: Any) -> dict[str, Any]:
    """The arguments that have a name in every training run."""
    given = {
        "learning_rate": args.learning_rate,
        "batch_size": args.per_device_train_batch_size,
        "weight_decay": args.weight_decay,
        "epochs": args.num_train_epochs,
        "random_seed": args.seed,
    }
    return dict(names.training_params(given))
