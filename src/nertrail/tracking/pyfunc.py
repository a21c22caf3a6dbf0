"""An MLflow model around the predictor: code as source, requirements few and pinned, nothing pickled."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import nertrail
from nertrail.tracking.protocol import Rejected

# What `nertrail.ner.serving` imports. The model carries it, so that its environment needs no nertrail, hence no torch.
CODE = (
    "__init__.py", "errors.py", "predictor.py", "ner/__init__.py",
    *(f"ner/{name}.py" for name in (
        "checkpoint", "devices", "documents", "entities", "labels", "layout", "pieces", "predictor", "serving",
        "session", "tagging", "windows",
    )),
)  # fmt: skip
_PACKAGES = ("__init__.py", "ner/__init__.py")
REQUIREMENTS = ("mlflow", "onnxruntime", "tokenizers", "numpy")
EXAMPLE = "Ada Lovelace met Charles Babbage in London."
# Where nertrail is installed too, the rest of it stays importable beside the copy in the model.
_BESIDE_AN_INSTALLATION = "\n__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"


def save_pyfunc(folder: Path, target: Path) -> Path:
    """Write an MLflow model that serves `folder` to `target`.

    Raises:
        Rejected: this mlflow lacks what its Python models need, as mlflow-skinny does.
    """
    try:
        from mlflow.pyfunc import save_model
        from pandas import DataFrame
    except ImportError as error:
        raise Rejected(f"no MLflow model can be built: {error}") from error
    # recorded, hence not shown: MLflow's advice on type hints comes past every filter
    with tempfile.TemporaryDirectory(prefix="nertrail-") as draft, warnings.catch_warnings(record=True):
        save_model(
            str(target),
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={"model": str(_named(folder, Path(draft) / "model"))},
            code_paths=[str(_code(Path(draft)))],
            signature=_signature(),
            input_example=DataFrame({"text": [EXAMPLE]}),
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in REQUIREMENTS],
        )
    return target


def _code(target: Path) -> Path:
    """The package's serving part, as a package of the same name."""
    package, source = target / "nertrail", Path(nertrail.__file__).parent
    for name in CODE:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, package / name)
    for name in _PACKAGES:
        with (package / name).open("a", encoding="utf-8") as file:
            file.write(_BESIDE_AN_INSTALLATION)
    return package


def _named(folder: Path, target: Path) -> Path:
    """The folder under the name that `Predictor.load` looks for below an MLflow model."""
    shutil.copytree(folder, target)  # not a link: of a link, mlflow would copy the link
    return target


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    parts = {"start": "long", "end": "long", "label": "string", "score": "double", "text": "string"}
    entity = Object([Property(name, kind) for name, kind in parts.items()])
    return ModelSignature(
        inputs=Schema([ColSpec("string", "text")]),
        outputs=Schema([ColSpec(Array(entity), "entities")]),
        params=ParamSchema([ParamSpec("min_score", "double", 0.0), ParamSpec("use_thresholds", "boolean", False)]),
    )
