"""The public predictor: entities of raw text, with a model from a folder, an MLflow run or a model registry."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from nertrail.ner.devices import thread_count
from nertrail.ner.entities import Entity
from nertrail.ner.serving import FolderPredictor

__all__ = ["Entity", "Predictor"]


class Predictor(FolderPredictor):
    """A served model, loaded once and asked often.

    A local folder needs onnxruntime and tokenizers only. Example: `Predictor.load("runs/quickstart").predict([text])`.
    """

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        threads: int | None = None,
        device: str = "cpu",
        tracking_uri: str | None = None,
    ) -> Self:
        """Load a model.

        Args:
            source: the folder of a converted model, or the run dir of a pipeline; `runs:/<run id>` of a conversion;
                `models:/<name>@<alias>` or `models:/<name>/<version>` of a registry. What a server keeps is fetched
                once, into the folder NERTRAIL_CACHE or ~/.cache/nertrail.
            threads: threads of the model, at most 512; None: OMP_NUM_THREADS or as many as there are usable cores.
            device: "cpu", "cuda" or "auto". CUDA is untested.
            tracking_uri: the server of a `runs:/` or `models:/` source; None: as for the trackers.

        Raises:
            ModelError: there is no such model, or its folder is incomplete, broken or of something else.
            ConfigError: no such device, or no such number of threads.
        """
        threads = thread_count(threads)
        if not str(source).startswith(("runs:/", "models:/")):
            return cls(Path(source), threads=threads, device=device)
        from nertrail.tracking.mlflow_download import cache_folder, fetch

        fetched = fetch(str(source), cache_folder(), tracking_uri)
        return fetched.load(lambda folder: cls(folder, threads=threads, device=device))
