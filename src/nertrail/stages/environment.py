"""What a model was made with: versions, machine, commit."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import Any

import nertrail

_PACKAGES = ("torch", "transformers", "tokenizers", "optuna", "mlflow", "onnx", "onnxruntime", "numpy")


def environment() -> dict[str, Any]:
    """Versions and hardware, as plain data."""
    from nertrail.ner.hardware import hardware

    return {
        "nertrail": nertrail.__version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: version_of(name) for name in _PACKAGES},
        "hardware": hardware(),
    }


def version_of(package: str) -> str | None:
    """The installed version of a package, None where it is missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
