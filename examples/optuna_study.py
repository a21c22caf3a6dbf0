"""Record an Optuna study of one's own: pruned and failed trials too, from two threads.

    python examples/optuna_study.py

Recorded in runs/my-study, delivered to MLFLOW_TRACKING_URI, or else to mlflow.db in the working directory.
"""

from __future__ import annotations

import optuna

from nertrail.tracking.callbacks import OptunaCallback
from nertrail.tracking.mlflow_tracker import MLflowSweepTracker


def objective(trial: optuna.Trial) -> float:
    """A bowl with its bottom at x = 2. Half of the way is enough to see who loses; negative x is no valid setting."""
    x = trial.suggest_float("x", -1, 10)
    if x < 0:
        raise ValueError(f"x = {x:.2f} is negative")
    for step in range(4):
        trial.report((x - 2) ** 2 + 1 / (step + 1), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return (x - 2) ** 2


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), pruner=optuna.pruners.MedianPruner(2))
    tracker = MLflowSweepTracker("my-study")
    with OptunaCallback(study, tracker, metric="loss", backbone="bowl") as callback:
        study.enqueue_trial({"x": -0.5})
        study.optimize(callback.watched(objective), n_trials=12, n_jobs=2, catch=(ValueError,), callbacks=[callback])
    receipt = tracker.flush()
    print(f"run {callback.run.uid}: {receipt.delivered} of {receipt.written} records delivered")
    tracker.close()


if __name__ == "__main__":
    main()
