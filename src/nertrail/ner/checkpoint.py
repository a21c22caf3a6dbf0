"""A model on disk: safetensors, and JSON that says how texts are cut, labelled and decoded. Needs no torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from numbers import Real
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
# Numbers of config.json that nertrail reads, with the least that each can be.
_WHOLE = {"vocab_size": 1, "pad_token_id": 0, "type_vocab_size": 0, "max_position_embeddings": 1}


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
    """Write nertrail.json alone; digests of a conversion's files, which it may hold, stay."""
    digests = read_digests(checkpoint.path)
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
        **({"digests": digests} if digests else {}),
    }
    _write(checkpoint.path, content)


def read_manifest(path: Path) -> Checkpoint:
    """Read a folder's settings, whatever weights lie beside them.

    Raises:
        ModelError: no nertrail.json, one that is broken, or one of a newer nertrail.
    """
    place, remedy = path / MANIFEST, "train the model again, or restore the file"
    try:
        content = _read_object(place, "a checkpoint's settings", remedy)
        _check_schema(content["schema"], content.get("version"), place)
        backbone, run_uid, decoding = content["backbone"], content.get("run_uid"), content["decoding"]
        _want(isinstance(backbone, str), "backbone", backbone, "a text")
        _want(run_uid is None or isinstance(run_uid, str), "run_uid", run_uid, "a text")
        _want(decoding in METHODS, "decoding", decoding, f"one of {', '.join(METHODS)}")
        labels, windows = _labels(content), _windows(content)
        return Checkpoint(path, backbone, labels, windows, decoding, run_uid, _thresholds(content, labels))
    except OSError as error:
        raise ModelError("no such file", place=str(place), remedy=_inside(path)) from error
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        found = f"it has no {error}" if isinstance(error, KeyError) else getattr(error, "problem", error)
        raise ModelError(f"not a checkpoint's settings: {found}", place=str(place), remedy=remedy) from error


def read_digests(path: Path) -> dict[str, str]:
    """Digests of a conversion's files by name; none in a folder of an older nertrail, or in one without settings.

    Raises:
        ModelError: nertrail.json is broken.
    """
    place, remedy = path / MANIFEST, "convert the model again, or restore the file"
    if not place.is_file():
        return {}
    found = _read_object(place, "a checkpoint's settings", remedy).get("digests", {})
    if not isinstance(found, dict) or not all(isinstance(digest, str) for digest in found.values()):
        raise ModelError("digests is no object of texts", place=str(place), remedy=remedy)
    return found


def write_digests(path: Path, digests: Mapping[str, str]) -> None:
    """Put them into a folder's nertrail.json."""
    content = _read_object(path / MANIFEST, "a checkpoint's settings", REMEDY)
    _write(path, {**content, "digests": dict(digests)})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    (path / MANIFEST).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _check_schema(found: Any, version: object, place: Path) -> None:
    _want(_is_whole(found, 1), "schema", found, "a whole number from 1 on")
    if found > SCHEMA:
        problem = (
            f"has schema {found}, written by nertrail {version}; this is nertrail {__version__}, which reads {SCHEMA}"
        )
        raise ModelError(problem, place=str(place), remedy="install that version of nertrail, or a newer one")


def _labels(content: Mapping[str, Any]) -> LabelSet:
    types = content["types"]
    named = isinstance(types, list) and all(isinstance(name, str) and name.strip() and name != "O" for name in types)
    _want(named and len(set(types)) == len(types), "types", types, "a list of names, each once")
    labels = LabelSet(tuple(types))
    found = content.get("labels", [*labels.names])
    _want(found == [*labels.names], "labels", found, f"O, B- and I- of the types {', '.join(types)}")
    return labels


def _windows(content: Mapping[str, Any]) -> WindowSettings:
    found = content["windows"]
    _want(isinstance(found, dict), "windows", found, "an object")
    for name in {"max_length", "stride"} & set(found):
        _want(_is_whole(found[name], 0), f"windows.{name}", found[name], "a whole number from 0 on")
    return WindowSettings(**found)


def _thresholds(content: Mapping[str, Any], labels: LabelSet) -> dict[str, float]:
    found = content.get("thresholds", {})
    _want(isinstance(found, dict), "thresholds", found, "an object")
    _want(set(found) <= set(labels.types), "thresholds", found, f"scores of the types {', '.join(labels.types)}")
    for name, score in found.items():
        _want(is_score(score), f"thresholds.{name}", score, "a number from 0 to 1")
    return {name: float(score) for name, score in found.items()}


def is_score(value: object) -> bool:
    """Whether it is a number from 0 to 1; true and false, nan and texts are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) <= 1


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _want(holds: object, name: str, found: object, wanted: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {repr(found)[:80]}, not {wanted}")


def _inside(folder: Path) -> str:
    """The remedy for a folder that is no model: those that lie in it, the final model's first."""
    found = sorted(folder.glob("**/" + MANIFEST), key=lambda path: ("training" not in path.parts, path))
    return f"did you mean {', '.join(str(path.parent) for path in found[:3])}?" if found else REMEDY


def read_config(folder: Path) -> dict[str, Any]:
    """The model's config.json.

    Raises:
        ModelError: no such file, no JSON object in it, or a number that nertrail reads is none or out of range.
    """
    place = folder / CONFIG
    try:
        content = _read_object(place, "a model's configuration", REMEDY)
    except OSError as error:
        raise ModelError(f"not a model's configuration: {error}", place=str(place), remedy=REMEDY) from error
    if problem := _number_problem(content):
        raise ModelError(f"not a model's configuration: {problem}", place=str(place), remedy=REMEDY)
    return content


def _number_problem(config: Mapping[str, Any]) -> str | None:
    for name, least in _WHOLE.items():
        found = config.get(name)
        if found is not None and not _is_whole(found, least):
            return f"{name} is {found!r}, not a whole number from {least} on"
    pad, pieces = config.get("pad_token_id"), config.get("vocab_size")
    if pad is not None and pieces is not None and pad >= pieces:
        return f"pad_token_id is {pad}, and there are {pieces} pieces, counted from 0"
    return None


def _read_object(place: Path, what: str, remedy: str) -> dict[str, Any]:
    """The JSON object of a file; `what` says what it should have been. OSError passes through."""
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"not {what}: {error}", place=str(place), remedy=remedy) from error
    except RecursionError:
        raise ModelError(f"not {what}: JSON nested too deeply", place=str(place), remedy=remedy) from None
    if not isinstance(content, dict):
        raise ModelError(f"not {what}: a {type(content).__name__}", place=str(place), remedy=remedy)
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
