"""Pieces of a text: a tokenizer that does not say where they lie is refused."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

import tiny
from nertrail.errors import ModelError
from nertrail.ner.pieces import check_offsets


class Encoding:
    """What a tokenizer without offsets gives."""

    def __init__(self, ids, offsets):
        self.ids, self.offsets = ids, offsets


class Stub:
    def __init__(self, ids, offsets):
        self.encoding = Encoding(ids, offsets)

    def encode(self, text, add_special_tokens):
        return self.encoding


@pytest.mark.parametrize("offsets", [[(0, 0), (0, 0)], [(0, 900), (5, 901)]])
def test_no_offsets(offsets):
    with pytest.raises(ModelError, match="gives no offsets") as caught:
        check_offsets(Stub([1, 2], offsets), "backbone x")
    assert caught.value.place == "backbone x"
    assert caught.value.remedy


def test_offsets(tmp_path):
    check_offsets(Tokenizer.from_file(str(tiny.build_tokenizer(tmp_path))), "backbone x")
    mute = Tokenizer(models.WordLevel(vocab={"[UNK]": 0}, unk_token="[UNK]"))
    mute.pre_tokenizer = pre_tokenizers.Whitespace()
    check_offsets(mute, "backbone x")
