"""The experiment files that ship, and the order in which settings win."""

from __future__ import annotations

from pathlib import Path

import pytest

from nertrail.config import build
from nertrail.errors import ConfigError
from nertrail.experiment import find_config, load_experiment
from nertrail.tracking.settings import MlflowConfig
from nertrail.yamlfile import read_yaml

CONFIG = Path(__file__).parents[1] / "config"
MINIMAL = "data: {synthetic: {}}\nbackbones: [{name: b, source: s}]\nmlflow: mlflow.yaml\n"


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.name)
def test_presets_are_the_shipped_files(path: Path) -> None:
    preset = find_config("quickstart").parent / path.name
    assert preset.read_text(encoding="utf-8") == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["quickstart", "wnut17", "ncbi"])
def test_shipped_experiments_load_and_are_tracked(name: str) -> None:
    assert load_experiment(CONFIG / f"{name}.yaml").mlflow is not None


def test_the_shipped_mlflow_file_says_the_defaults() -> None:
    tree = read_yaml(CONFIG / "mlflow.yaml")
    assert build(MlflowConfig, tree, "mlflow.yaml") == MlflowConfig()
    assert set(tree) == set(MlflowConfig.model_fields)


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    (tmp_path / "mlflow.yaml").write_text("tracking_uri: http://file\n", encoding="utf-8")
    (tmp_path / "e.yaml").write_text(MINIMAL, encoding="utf-8")
    return tmp_path / "e.yaml"


@pytest.mark.parametrize(
    ("environment", "overrides", "uri"),
    [
        (None, [], "http://file"),
        ("http://environment", [], "http://environment"),
        ("http://environment", ["mlflow.tracking_uri=http://set"], "http://set"),
    ],
)
def test_precedence(
    minimal: Path, monkeypatch: pytest.MonkeyPatch, environment: str | None, overrides: list[str], uri: str
) -> None:
    if environment:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", environment)
    experiment = load_experiment(minimal, overrides)
    assert experiment.mlflow is not None
    assert experiment.mlflow.tracking_uri == uri


def test_a_mistake_in_the_mlflow_file_is_told_with_its_name_and_line(minimal: Path) -> None:
    (minimal.parent / "mlflow.yaml").write_text("tracking:\n  sweep: {enabeld: true}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_experiment(minimal)
    assert "mlflow.yaml:2: tracking.sweep.enabeld: unknown key" in str(caught.value)
    assert "did you mean 'enabled'?" in str(caught.value)


def test_an_experiment_that_names_no_mlflow_records_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")
    (tmp_path / "e.yaml").write_text(MINIMAL.replace("mlflow: mlflow.yaml\n", ""), encoding="utf-8")
    assert load_experiment(tmp_path / "e.yaml").mlflow is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL.replace("{synthetic: {}}", "{}"), "exactly one of data.path and data.synthetic"),
        (MINIMAL.replace("b, source: s}", "b, source: s}, {name: b, source: t}"), "stands for two backbones"),
        (MINIMAL + "windows: {max_length: 16, stride: 15}\n", "must be below max_length"),
        (MINIMAL + "sweep: {search_space: {learning_rat: {type: int, low: 1, high: 2}}}\n", "is no hyperparameter"),
    ],
)
def test_settings_that_make_no_sense(minimal: Path, text: str, message: str) -> None:
    minimal.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_experiment(minimal)


def test_another_mlflow_file_can_be_chosen(minimal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "other.yaml").write_text("tracking_uri: http://other\n", encoding="utf-8")
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    chosen = load_experiment(minimal, ["mlflow=other.yaml", "mlflow.linger_s=3"]).mlflow
    assert chosen is not None
    assert (chosen.tracking_uri, chosen.linger_s) == ("http://other", 3)
    assert load_experiment(minimal, ["mlflow=null"]).mlflow is None
    with pytest.raises(ConfigError, match=r"there is no file .*missing\.yaml'"):
        load_experiment(minimal, ["mlflow=missing.yaml"])
