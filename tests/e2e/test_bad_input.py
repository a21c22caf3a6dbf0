"""Bad data and settings: one message with place, value and remedy, exit code 2, nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import tiny_experiment
from e2e.commands import nertrail


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def first_row(corpus: Path, **changes: object) -> None:
    rewrite(corpus / "train.jsonl", lambda text: json.dumps({"text": "Anna lives in Oslo.", **changes}) + "\n" + text)


def section(folder: Path, **changes: object) -> None:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def _without_weights(folder: Path) -> Path:
    """The experiment's backbone, its weights pickled as they used to be."""
    source = Path(yaml.safe_load((folder / "tiny.yaml").read_text(encoding="utf-8"))["backbones"][0]["source"])
    copy = folder / "corpus" / "backbone"
    shutil.copytree(source, copy)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    return copy


CASES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "missing file": (lambda f: (f / "corpus" / "dev.jsonl").unlink(), ("corpus", "→")),
    "missing folder": (lambda f: section(f, data={"path": "nowhere"}), ("nowhere", "→")),
    "broken JSON": (
        lambda f: rewrite(f / "corpus" / "train.jsonl", lambda t: '{"text": \n' + t),
        ("train.jsonl:1", "→"),
    ),
    "span outside": (lambda f: first_row(f / "corpus", entities=[[0, 400, "PER"]]), ("train.jsonl:1", "400", "→")),
    "unknown label": (
        lambda f: (
            first_row(f / "corpus", entities=[[0, 4, "HUMAN"]]),
            section(f, data={"path": str(f / "corpus"), "types": ["PER", "LOC", "ORG"]}),
        ),
        ("train.jsonl:1", "HUMAN", "→"),
    ),
    "empty split": (lambda f: rewrite(f / "corpus" / "dev.jsonl", lambda t: ""), ("dev.jsonl", "→")),
    "not UTF-8": (lambda f: (f / "corpus" / "test.jsonl").write_bytes(b'{"text": "\xff"}\n'), ("test.jsonl", "UTF-8")),
    "unknown backbone": (
        lambda f: section(f, backbones=[{"name": "b", "source": str(f / "no-model")}]),
        ("no-model", "→"),
    ),
    "backbone without weights": (
        lambda f: section(f, backbones=[{"name": "b", "source": str(_without_weights(f))}]),
        ("backbone", "holds no model.safetensors", "→"),
    ),
    "windows too long": (
        lambda f: section(f, windows={"max_length": 512}),
        ("windows.max_length", "128 positions", "→"),
    ),
    "wrong type": (lambda f: section(f, seed="many"), ("tiny.yaml:", "seed", "'many'", "→")),
    "broken YAML": (lambda f: rewrite(f / "tiny.yaml", lambda t: "seed: [1\n" + t), ("tiny.yaml:", "broken YAML", "→")),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(tmp_path: Path, tiny_backbone: Path, case: str) -> None:
    tiny_experiment.write(tmp_path, tiny_backbone, {})
    spoil, wanted = CASES[case]
    spoil(tmp_path)
    done = nertrail(tmp_path, "run", "tiny.yaml", HF_HUB_OFFLINE="1")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
    for part in wanted:
        assert part in done.stderr, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"corpus", "tiny.yaml"}


def test_unwritable_output(tmp_path: Path, tiny_backbone: Path) -> None:
    tiny_experiment.write(tmp_path, tiny_backbone, {})
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = nertrail(tmp_path, "run", "tiny.yaml", "--run-dir", "file/below")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "cannot be written" in done.stderr
    assert "--run-dir" in done.stderr
