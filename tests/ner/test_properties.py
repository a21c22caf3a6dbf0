"""What must hold for any text: offsets survive the whole way; a text is read alike alone and inside a longer one."""

from __future__ import annotations

import json
import string
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import tiny
from nertrail.ner.documents import Document, Span
from nertrail.ner.labels import LabelSet
from nertrail.ner.readers import read_documents
from nertrail.ner.windows import Encoded, WindowSettings, encode, merge, predictions

LABELS = LabelSet(tiny.TYPES)
ANY_TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60)


def word_pieces(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tiny.build_tokenizer(folder)))


def bytes_(_: Path) -> Tokenizer:
    """Every byte a piece, as GPT-like tokenizers have at their base: no text is unknown, characters are split."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@pytest.fixture(scope="module", params=[word_pieces, bytes_], ids=["word pieces", "bytes"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return request.param(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(text=ANY_TEXT, data=st.data())
def test_offsets_survive_reading_windows_decoding_and_merging(
    tokenizer: Tokenizer, folder: Path, text: str, data: st.DataObject
) -> None:
    words = encode([Document("a", text, ())], tokenizer, LABELS).documents[0].words
    chosen = data.draw(st.lists(st.sampled_from((*tiny.TYPES, None)), min_size=len(words), max_size=len(words)))
    spans = [Span(*word, type_) for word, type_ in zip(words, chosen, strict=True) if type_]
    record = {"text": text, "entities": [[*span] for span in spans]}
    (folder / "a.jsonl").write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8", newline="")
    if not text.strip():
        return
    (document,) = read_documents(folder / "a.jsonl")
    assert (document.text, list(document.spans)) == (text, spans)
    encoded = encode([document], tokenizer, LABELS, WindowSettings(max_length=12, stride=5))
    assert predictions(encoded, certain(encoded))[0] == [frozenset(spans)]


def certain(encoded: Encoded) -> list[np.ndarray]:
    """Logits that are sure of the gold tag."""
    tags = [encoded.documents[window.document].tags for window in encoded.windows]
    return [
        np.eye(len(LABELS))[[tags[number][word] for word in window.words]].reshape(-1, len(LABELS)) * 20
        for number, window in enumerate(encoded.windows)
    ]


REACH = 3  # pieces to either side that the stand-in for a model sees
WINDOWS = WindowSettings(max_length=30, stride=2 * REACH + 6)
REST = " " + ". " * (REACH + 1)  # what nobody takes for an entity, and more of it than the model sees
TEXT = st.lists(st.text(string.ascii_lowercase[:12], min_size=1, max_size=3), min_size=1, max_size=60).map(" ".join)


def near_sighted(encoded: Encoded, full_stop: int) -> list[np.ndarray]:
    """Logits that depend on the pieces within REACH alone; text edges look like full stops, which are sure to be O."""
    special = {encoded.windows[0].input_ids[0], encoded.windows[0].input_ids[-1]}
    found = []
    for window in encoded.windows:
        ids = [full_stop if piece in special else piece for piece in window.input_ids]
        padded = [full_stop] * REACH + ids + [full_stop] * REACH
        found.append(np.array([_logits(padded[at : at + 2 * REACH + 1], full_stop) for at in window.first]))
    return [rows.reshape(-1, len(LABELS)) for rows in found]


def _logits(seen: list[int], full_stop: int) -> np.ndarray:
    if seen[REACH] == full_stop:
        return np.eye(len(LABELS))[0] * 100
    return np.random.default_rng(zlib.crc32(repr(seen).encode())).normal(size=len(LABELS))


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return word_pieces(tmp_path_factory.mktemp("tokenizer"))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(before=TEXT, text=TEXT, after=TEXT)
def test_a_text_inside_a_longer_one_is_read_alike(pieces: Tokenizer, before: str, text: str, after: str) -> None:
    """Away from window edges: every word speaks from a window that holds all that the model sees around it."""
    whole = before + REST + text + REST + after
    start, stop = len(before + REST), len(before + REST + text)
    alone, inside = (encode([Document("a", each, ())], pieces, LABELS, WINDOWS) for each in (text, whole))
    full_stop = pieces.token_to_id(".")
    logits = [near_sighted(each, full_stop) for each in (alone, inside)]
    rows = [merge(each, found)[0] for each, found in zip((alone, inside), logits, strict=True)]
    words = inside.documents[0].words
    first = next(number for number, (begin, _) in enumerate(words) if begin >= start)
    np.testing.assert_array_equal(rows[0], rows[1][first : first + len(alone.documents[0].words)])
    (found,), _ = predictions(inside, logits[1])
    shifted = {Span(s.start - start, s.end - start, s.type) for s in found if start <= s.start and s.end <= stop}
    assert predictions(alone, logits[0])[0] == [shifted]


def test_the_stand_in_would_notice_windows_that_overlap_too_little(pieces: Tokenizer) -> None:
    document = Document("a", "ab cd ef gh " * 30, ())
    rows = []
    for windows in (WINDOWS, WindowSettings(30, 0), WindowSettings(4000, 0)):
        encoded = encode([document], pieces, LABELS, windows)
        rows.append(merge(encoded, near_sighted(encoded, pieces.token_to_id(".")))[0])
    assert (rows[0] == rows[2]).all()
    assert not (rows[1] == rows[2]).all()
