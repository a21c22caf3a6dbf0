"""A model on disk: safetensors, and JSON that says how texts are cut, labelled and decoded. Needs no torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from nertrail import __version__
from nertrail.errors import ConfigError, ModelError
from nertrail.ner.labels import METHODS, LabelSet
from nertrail.ner.pieces import clear
from nertrail.ner.windows import WindowSettings

MANIFEST = "nertrail.json"
TOKENIZER = "tokenizer.json"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
SCHEMA = 1  # of nertrail.json; it grows when an older nertrail would misread a newer file
REMEDY = "name a checkpoint folder that nertrail wrote"


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a trained model (torch or ONNX) and the settings that its scores hold for.

    `run_uid` names the run that trained it, None where none was recorded.
    `thresholds` are scores per type below which an entity may be dropped; they are offered, not part of `decoding`.
    """

    path: Path
    backbone_name: str
    labels: LabelSet
    windows: WindowSettings
    decoding: str
    run_uid: str | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the folder, without truncation and padding."""
        return clear(read_tokenizer(self.path))

    @property
    def pad_id(self) -> int:
        return pad_id(read_config(self.path))


def pad_id(config: dict[str, Any]) -> int:
    """Id that fills a batch; any will do where the configuration names none, since the attention mask hides it."""
    found = config.get("pad_token_id")
    return 0 if found is None else int(found)


def write_manifest(checkpoint: Checkpoint, tokenizer: Tokenizer) -> None:
    """Write nertrail.json and tokenizer.json into the checkpoint's folder."""
    write_settings(checkpoint)
    tokenizer.save(str(checkpoint.path / TOKENIZER))


def write_settings(checkpoint: Checkpoint) -> None:
    """Write nertrail.json alone."""
    content = {
        "schema": SCHEMA,
        "version": __version__,
        "backbone": checkpoint.backbone_name,
        "types": list(checkpoint.labels.types),
        "labels": list(checkpoint.labels.names),
        "windows": asdict(checkpoint.windows),
        "decoding": checkpoint.decoding,
        "run_uid": checkpoint.run_uid,
        "thresholds": dict(checkpoint.thresholds),
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (checkpoint.path / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(path: Path) -> Checkpoint:
    """Read a folder's settings, whatever weights lie beside them.

    Raises:
        ModelError: no nertrail.json, one that is broken, or one of a newer nertrail.
    """
    place = path / MANIFEST
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        _check_schema(content["schema"], content.get("version"), place)
        labels, windows = LabelSet(tuple(content["types"])), WindowSettings(**content["windows"])
        if content["decoding"] not in METHODS:
            raise ValueError(f"unknown decoding {content['decoding']!r}")  # noqa: TRY301 - told as the others are
        thresholds = {str(name): float(score) for name, score in content.get("thresholds", {}).items()}
        run_uid = content.get("run_uid")
        return Checkpoint(path, content["backbone"], labels, windows, content["decoding"], run_uid, thresholds)
    except OSError as error:
        raise ModelError("no such file", place=str(place), remedy=_inside(path)) from error
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        found = f"not a checkpoint's settings: {error!r}"
        raise ModelError(found, place=str(place), remedy="train the model again, or restore the file") from error


def _check_schema(found: object, version: object, place: Path) -> None:
    if not isinstance(found, int) or found < 1:
        raise ValueError(f"schema {found!r}")
    if found > SCHEMA:
        problem = (
            f"has schema {found}, written by nertrail {version}; this is nertrail {__version__}, which reads {SCHEMA}"
        )
        raise ModelError(problem, place=str(place), remedy="install that version of nertrail, or a newer one")


def _inside(folder: Path) -> str:
    """The remedy for a folder that is no model: those that lie in it, the final model's first."""
    found = sorted(folder.glob("**/" + MANIFEST), key=lambda path: ("training" not in path.parts, path))
    return f"did you mean {', '.join(str(path.parent) for path in found[:3])}?" if found else REMEDY


def read_config(folder: Path) -> dict[str, Any]:
    """The model's config.json.

    Raises:
        ModelError: no such file, or no JSON object in it.
    """
    place = folder / CONFIG
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"not a model's configuration: {error}", place=str(place), remedy=REMEDY) from error
    if not isinstance(content, dict):
        found = f"not a model's configuration: a {type(content).__name__}"
        raise ModelError(found, place=str(place), remedy=REMEDY)
    return content


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of a torch model.

    Raises:
        ModelError: a file is missing or broken.
    """
    checkpoint = read_manifest(path)
    if not (path / WEIGHTS).is_file() and any(path.glob("*.onnx")):
        remedy = "name the checkpoint that it was made of"
        raise ModelError("is a converted model; a PyTorch checkpoint is needed", place=str(path), remedy=remedy)
    for name in (WEIGHTS, CONFIG, TOKENIZER):
        if not (path / name).is_file():
            raise ModelError("no such file", place=str(path / name), remedy=REMEDY)
    return checkpoint


def read_tokenizer(folder: Path) -> Tokenizer:
    """Read tokenizer.json as it is.

    Raises:
        ModelError: no such file, or one that `tokenizers` cannot read.
    """
    place = folder / TOKENIZER
    if not place.is_file():
        raise ModelError("no such file", place=str(place), remedy="nertrail needs a fast tokenizer's tokenizer.json")
    try:
        return Tokenizer.from_file(str(place))
    except Exception as error:  # tokenizers raises no narrower one
        raise ModelError(f"not a tokenizer: {error}", place=str(place), remedy="fetch the model again") from error


def replace_folder(draft: Path, target: Path) -> None:
    """Put a finished draft in the place of a folder, so that no half-written one is ever seen under its name."""
    if target.exists():
        old = target.with_name(f".{target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        draft.rename(target)
        shutil.rmtree(old)
    else:
        draft.rename(target)
