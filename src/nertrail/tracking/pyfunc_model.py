"""The code of a registered model: MLflow runs this file, copied into the model, instead of unpickling anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow

from nertrail.ner.serving import FolderPredictor


class EntityModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Entities of each text of the column `text`; params: min_score, use_thresholds."""

    def load_context(self, context: Any) -> None:
        """Load the model that lies among the artifacts."""
        self._predictor = FolderPredictor(Path(context.artifacts["model"]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002 - MLflow reads hints
        """One mapping per text: `entities`, a list of mappings with start, end, label, score and text."""
        texts = [text for cell in model_input["text"] for text in _texts(cell)]
        found = self._predictor.predict(texts, **(params or {}))
        return [
            {"entities": [_row(text, entity) for entity in entities]}
            for text, entities in zip(texts, found, strict=True)
        ]


def _texts(cell: Any) -> list[Any]:
    """MLflow makes one cell of all texts where it was given a mapping with a list."""
    return [cell] if isinstance(cell, str) else list(cell)


def _row(text: str, entity: Any) -> dict[str, Any]:
    return {**entity._asdict(), "text": text[entity.start : entity.end]}


mlflow.models.set_model(EntityModel())
