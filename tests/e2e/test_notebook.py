"""The notebook, from top to bottom, leaves the tree that the command leaves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import recorded
import tiny_experiment

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01_orchestrate_training_colab.ipynb"


def test_it_is_short_and_holds_no_output() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert len(notebook.cells) <= 15
    assert [cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs] == []


def test_it_leaves_the_tree_of_the_command(
    tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebook").mkdir()
    config = tiny_experiment.write(tmp_path / "notebook", tiny_backbone, {})
    monkeypatch.setenv("NERTRAIL_CONFIG", str(config))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(config.parent)}}).execute()
    of_notebook = recorded.delivered(config.parent / "runs" / "tiny-notebook")
    (tmp_path / "command").mkdir()
    of_command = recorded.pipeline(tmp_path / "command", tiny_backbone)
    assert Counter(recorded.tree(of_notebook)) == Counter(recorded.tree(of_command))
