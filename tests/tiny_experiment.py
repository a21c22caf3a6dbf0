"""A whole experiment that runs in seconds: the two-layer backbone twice (whole and cut), the toy corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

import tiny


def settings(folder: Path, backbone: Path, mlflow: Any = None) -> dict[str, Any]:
    """The experiment as a mapping; the corpus is written into `folder`."""
    corpus = folder / "corpus"
    if not corpus.is_dir():
        tiny.write_corpus(corpus)
    return {
        "mlflow": mlflow,
        "seed": 1,
        "data": {"path": str(corpus)},
        "backbones": [
            {"name": "whole", "source": str(backbone)},
            {"name": "cut", "source": str(backbone), "num_hidden_layers": 1},
        ],
        "windows": {"max_length": 32, "stride": 8},
        "hyperparameters": {"precision": "fp32", "dropout": 0.1},
        "sweep": {
            "max_trials": 2,
            "epochs": 2,
            "search_space": {
                "learning_rate": {"type": "loguniform", "low": 3e-3, "high": 1e-2},
                "batch_size": {"type": "choice", "values": [4, 8]},
            },
            "enqueue": [{"learning_rate": 5e-3, "batch_size": 4}],
        },
        "benchmark": {"batch_sizes": [1, 2], "iterations": 3, "warmup_iterations": 1, "max_seconds": 1, "threads": 1},
        "selection": {"accuracy_threshold": 0.1},
        "training": {"epochs": 3, "patience": None},
        "conversion": {"min_f1_share": 0.5},
    }


def write(folder: Path, backbone: Path, mlflow: Any = None, **changes: Any) -> Path:
    """Write `tiny.yaml` into `folder`; `changes` replace whole sections."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**settings(folder, backbone, mlflow), **changes}), encoding="utf-8")
    return path
