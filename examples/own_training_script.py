"""A training script of one's own that records what it does. The training knows nothing of nertrail but the tracker.

    python examples/own_training_script.py

Recorded in runs/my-training, delivered to MLFLOW_TRACKING_URI, or else to mlflow.db in the working directory.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from nertrail.tracking.mlflow_tracker import MLflowTrainingTracker

CONFIG = {"learning_rate": 0.1, "batch_size": 1, "epochs": 5, "weight_decay": 0.0}


def train(seed: int) -> Iterator[tuple[int, float, float]]:
    """Fit y = 2 x by gradient descent; yields (epoch, loss, weight)."""
    generator = random.Random(seed)
    weight = 0.0
    for epoch in range(1, int(CONFIG["epochs"]) + 1):
        losses = []
        for _ in range(20):
            x = generator.uniform(-1, 1)
            error = weight * x - 2 * x
            weight -= CONFIG["learning_rate"] * 2 * error * x
            losses.append(error * error)
        yield epoch, sum(losses) / len(losses), weight


def main() -> None:
    tracker = MLflowTrainingTracker("my-training")
    with tracker.start_training_run("{backbone}_{run_id}", backbone="line") as run:
        tracker.log_training_parameters(CONFIG, random_seed=1)
        for epoch, loss, weight in train(seed=1):
            tracker.log_training_metrics({"train_loss": loss, "weight": weight}, step=epoch)
        checkpoint = Path("checkpoint")
        checkpoint.mkdir(exist_ok=True)
        (checkpoint / "weights.json").write_text(json.dumps({"weight": weight}), encoding="utf-8")
        tracker.log_training_metrics({"loss": loss})
        tracker.log_training_artifacts(checkpoint_dir=checkpoint)
    receipt = tracker.flush()
    print(f"run {run.uid}: {receipt.delivered} of {receipt.written} records delivered")
    tracker.close()


if __name__ == "__main__":
    main()
