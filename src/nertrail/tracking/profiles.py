"""What a kind of server can do, and how much of each thing it takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """Limits of a server. None: as many as you like.

    `params`, `metrics` and `tags` count names per run, `*_rows` entries per request, the others characters.
    """

    name: str
    params: int | None = None
    metrics: int | None = None
    tags: int | None = None
    key: int = 250
    tag_key: int = 250
    param_value: int = 6000
    tag_value: int = 8000
    metric_rows: int = 1000
    param_rows: int = 100
    tag_rows: int = 100
    rewrites_artifacts: bool = True
    logged_models: bool = True


# MLflow's limits: mlflow/utils/validation.py of 3.17.
OSS = Profile("oss")

# Azure's: documented, but for the 200 params, which are enforced. A second upload of a file is refused there.
AZUREML = Profile(
    "azureml",
    params=200,
    metrics=50,
    tags=50,
    tag_key=100,
    tag_value=1000,
    metric_rows=250,
    rewrites_artifacts=False,
    logged_models=False,
)


def profile_of(uri: str) -> Profile:
    """The profile of the server behind a tracking URI."""
    return AZUREML if uri.startswith("azureml:") else OSS
