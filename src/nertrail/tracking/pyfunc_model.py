"""The code of a registered model: MLflow runs this file, copied into the model, instead of unpickling anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from nertrail.ner.serving import FolderPredictor


class EntityModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Entities of each text of the column `text`; params: min_score, use_thresholds."""

    def load_context(self, context: Any) -> None:
        """Load the model that lies among the artifacts."""
        self._predictor = FolderPredictor(Path(context.artifacts["model"]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002 - MLflow reads hints
        """One mapping per row: `entities`, a list of mappings with start, end, label, score and text.

        Raises:
            MlflowException: a cell is no text, or a param is out of its range; a server answers 400 with its message.
        """
        texts = [_text(number, cell) for number, cell in enumerate(model_input["text"])]
        found = self._predictor.predict(texts, **_options(params or {}))
        return [
            {"entities": [_row(text, entity) for entity in entities]}
            for text, entities in zip(texts, found, strict=True)
        ]


def _text(number: int, cell: Any) -> str:
    """The cell, which must be one text: of several, the answers would no longer stand beside their rows.

    MLflow itself makes one cell of a list where `predict` is given a mapping, as {"text": ["a", "b"]}.
    """
    if isinstance(cell, str):
        return cell
    found = "null" if cell is None or _is_nan(cell) else type(cell).__name__
    remedy = "give one string per row, as in a DataFrame or a list of mappings"
    raise _refused(f"column text, row {number} (the first is 0): found {found} where a text is wanted", remedy)


def _is_nan(cell: Any) -> bool:
    """What pandas makes of null among strings."""
    return isinstance(cell, float) and cell != cell


def _options(params: Mapping[str, Any]) -> dict[str, Any]:
    """The params that are set; null stands for the default."""
    options = {name: value for name, value in params.items() if value is not None}
    score = options.get("min_score", 0.0)
    if not 0 <= score <= 1:  # nor NaN
        raise _refused(f"params, min_score: found {score:g}", "give a number from 0 to 1")
    return options


def _refused(problem: str, remedy: str) -> MlflowException:
    """With this error code a server answers 400, and without a traceback."""
    return MlflowException.invalid_parameter_value(f"{problem}\n  → {remedy}")


def _row(text: str, entity: Any) -> dict[str, Any]:
    return {**entity._asdict(), "text": text[entity.start : entity.end]}


mlflow.models.set_model(EntityModel())
