from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import DistilBertConfig, DistilBertModel

import tiny
from nertrail.errors import ModelError
from nertrail.ner.labels import LabelSet
from nertrail.ner.model import (
    Backbone,
    Checkpoint,
    continue_model,
    load_checkpoint,
    load_model,
    load_tokenizer,
    model_of,
    quiet,
    save_checkpoint,
    window_logits,
)
from nertrail.ner.windows import WindowSettings, encode

LABELS = LabelSet(tiny.TYPES)
WINDOWS = WindowSettings(32, 8)


@pytest.fixture(scope="module")
def backbone(tiny_backbone: Path) -> Backbone:
    return Backbone("tiny", str(tiny_backbone))


@pytest.fixture(scope="module")
def distil(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = tmp_path_factory.mktemp("distil")
    with quiet():
        config = DistilBertConfig(vocab_size=300, n_layers=2, n_heads=2, dim=32, hidden_dim=64)
        DistilBertModel(config).save_pretrained(folder)
    tiny.build_tokenizer(folder)
    return Backbone("distil", str(folder))


@pytest.fixture
def checkpoint(backbone: Backbone, tmp_path: Path) -> Checkpoint:
    model, tokenizer = load_model(backbone, LABELS, seed=1), load_tokenizer(backbone)
    return save_checkpoint(
        model, tokenizer, tmp_path / "best", backbone_name="tiny", labels=LABELS, windows=WINDOWS, decoding="argmax"
    )


def dropouts(model: nn.Module) -> set[float]:
    return {child.p for child in model.modules() if isinstance(child, nn.Dropout)}


class TestLoad:
    def test_head_and_labels(self, backbone: Backbone) -> None:
        model = load_model(backbone, LABELS, seed=1)
        assert model.config.id2label == LABELS.id2label
        assert model.classifier.weight.shape == (7, 32)
        assert model.dtype == torch.float32

    def test_seed_makes_the_head_and_nothing_else(self, backbone: Backbone) -> None:
        one, same, other = (load_model(backbone, LABELS, seed=seed) for seed in (1, 1, 2))
        assert torch.equal(one.classifier.weight, same.classifier.weight)
        assert not torch.equal(one.classifier.weight, other.classifier.weight)
        pretrained = "bert.encoder.layer.0.output.dense.weight"
        assert torch.equal(one.state_dict()[pretrained], other.state_dict()[pretrained])

    def test_global_random_state_is_left_alone(self, backbone: Backbone) -> None:
        torch.manual_seed(5)
        expected = torch.rand(1)
        torch.manual_seed(5)
        load_model(backbone, LABELS, seed=1)
        assert torch.equal(torch.rand(1), expected)

    def test_first_layers(self, backbone: Backbone) -> None:
        cut = load_model(Backbone("tiny", backbone.source, num_hidden_layers=1), LABELS)
        assert len(cut.bert.encoder.layer) == 1

    @pytest.mark.parametrize("layers", [0, 3])
    def test_layers_it_does_not_have(self, backbone: Backbone, layers: int) -> None:
        with pytest.raises(ModelError, match="the backbone has 2"):
            load_model(Backbone("tiny", backbone.source, num_hidden_layers=layers), LABELS)

    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    def test_attention(self, backbone: Backbone, attention: str) -> None:
        assert load_model(backbone, LABELS, attention=attention).config._attn_implementation == attention

    def test_says_nothing(self, backbone: Backbone, capfd: pytest.CaptureFixture[str]) -> None:
        load_model(backbone, LABELS)
        assert capfd.readouterr() == ("", "")


class TestDropout:
    def test_bert(self, backbone: Backbone) -> None:
        model = load_model(backbone, LABELS, dropout=0.25)
        assert dropouts(model) == {0.25}
        assert model.bert.encoder.layer[0].attention.self.config.attention_probs_dropout_prob == 0.25
        assert model.config.classifier_dropout == 0.25

    def test_distilbert(self, distil: Backbone) -> None:
        model = load_model(distil, LABELS, dropout=0.25)
        assert dropouts(model) == {0.25}
        assert (model.config.dropout, model.config.attention_dropout, model.config.seq_classif_dropout) == (0.25,) * 3

    def test_none_keeps_the_backbones(self, backbone: Backbone) -> None:
        assert dropouts(load_model(backbone, LABELS)) == {0.1}

    def test_zero_is_a_value(self, backbone: Backbone) -> None:
        assert dropouts(load_model(backbone, LABELS, dropout=0.0)) == {0.0}


class TestUnusable:
    def test_unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(ModelError, match=r"backbone no/such[\s\S]*model\.safetensors"):
            load_model(Backbone("x", "no/such"), LABELS)

    def test_pickled_weights_are_refused(self, backbone: Backbone, tmp_path: Path) -> None:
        shutil.copytree(backbone.source, tmp_path / "b")
        (tmp_path / "b" / "model.safetensors").unlink()
        torch.save({}, tmp_path / "b" / "pytorch_model.bin")
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_model(Backbone("x", str(tmp_path / "b")), LABELS)

    def test_weights_of_another_architecture(self, backbone: Backbone, tmp_path: Path) -> None:
        """They would load, as random ones."""
        shutil.copytree(backbone.source, tmp_path / "b")
        config = tmp_path / "b" / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "num_hidden_layers": 4}))
        with pytest.raises(ModelError, match="weights of the encoder are missing"):
            load_model(Backbone("x", str(tmp_path / "b")), LABELS)


class TestCheckpoint:
    def test_only_safetensors_and_json(self, checkpoint: Checkpoint) -> None:
        names = {path.name for path in checkpoint.path.iterdir()}
        assert names == {"model.safetensors", "config.json", "tokenizer.json", "nertrail.json"}
        assert [path.name for path in checkpoint.path.parent.iterdir()] == ["best"]

    def test_comes_back_as_it_was(self, checkpoint: Checkpoint, backbone: Backbone) -> None:
        assert load_checkpoint(checkpoint.path) == checkpoint
        model, again = load_model(backbone, LABELS, seed=1), model_of(checkpoint)
        assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())
        assert not again.training
        assert checkpoint.tokenizer().to_str() == load_tokenizer(backbone).to_str()
        assert checkpoint.pad_id == 0

    def test_attention_makes_no_difference(self, checkpoint: Checkpoint) -> None:
        encoded = encode(tiny.documents(5, 1), checkpoint.tokenizer(), LABELS, WINDOWS)
        one, two = (
            window_logits(model_of(checkpoint, attention), encoded.windows, 0) for attention in ("sdpa", "eager")
        )
        assert all(abs(a - b).max() < 1e-5 for a, b in zip(one, two, strict=True))

    def test_replaced_whole(self, checkpoint: Checkpoint, backbone: Backbone) -> None:
        (checkpoint.path / "stale.bin").touch()
        save_checkpoint(
            load_model(backbone, LABELS),
            load_tokenizer(backbone),
            checkpoint.path,
            backbone_name="tiny",
            labels=LABELS,
            windows=WINDOWS,
        )
        assert not (checkpoint.path / "stale.bin").exists()
        assert load_checkpoint(checkpoint.path).decoding == "viterbi"

    @pytest.mark.parametrize("name", ["nertrail.json", "model.safetensors", "config.json", "tokenizer.json"])
    def test_missing_file(self, checkpoint: Checkpoint, name: str) -> None:
        (checkpoint.path / name).unlink()
        with pytest.raises(ModelError, match=rf"{name}: no such file"):
            load_checkpoint(checkpoint.path)

    @pytest.mark.parametrize("text", ["{", "{}", '{"types": []}', "[]"])
    def test_broken_settings(self, checkpoint: Checkpoint, text: str) -> None:
        (checkpoint.path / "nertrail.json").write_text(text)
        with pytest.raises(ModelError, match=r"nertrail\.json"):
            load_checkpoint(checkpoint.path)


class TestContinue:
    def test_same_labels(self, checkpoint: Checkpoint) -> None:
        model = continue_model(checkpoint, LABELS, dropout=0.3)
        assert torch.equal(model.classifier.weight, model_of(checkpoint).classifier.weight)
        assert dropouts(model) == {0.3}

    def test_known_labels_keep_their_rows(self, checkpoint: Checkpoint) -> None:
        more = LabelSet(("DATE", "LOC", "PER"))
        trained, model = model_of(checkpoint), continue_model(checkpoint, more)
        assert model.classifier.weight.shape[0] == 7
        for name in ("O", "B-LOC", "I-PER"):
            assert torch.equal(model.classifier.weight[more.index(name)], trained.classifier.weight[LABELS.index(name)])
        new = model.classifier.weight[more.index("B-DATE")]
        assert not any(torch.equal(new, row) for row in trained.classifier.weight)  # not another label's, of its place
        assert torch.equal(model.bert.embeddings.word_embeddings.weight, trained.bert.embeddings.word_embeddings.weight)
