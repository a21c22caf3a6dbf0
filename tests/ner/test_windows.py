from __future__ import annotations

import itertools
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

import tiny
from nertrail.errors import ConfigError
from nertrail.ner.evaluation import evaluate
from nertrail.ner.labels import LabelSet
from nertrail.ner.readers import Document, Span
from nertrail.ner.windows import (
    IGNORED,
    Encoded,
    WindowSettings,
    encode,
    merge,
    pad_batch,
    predictions,
    word_loss,
)

LABELS = LabelSet(tiny.TYPES)
SMALL = WindowSettings(max_length=10, stride=3)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.from_file(str(tiny.build_tokenizer(tmp_path_factory.mktemp("tokenizer"))))


def oracle(encoded: Encoded) -> list[np.ndarray]:
    """Logits that are sure of the gold tag."""
    return [
        np.eye(len(encoded.labels))[[encoded.documents[w.document].tags[word] for word in w.words]].reshape(-1, 7) * 20
        for w in encoded.windows
    ]


def tokens(*words: str) -> Document:
    """A document of given words, as CoNLL-like data has them."""
    ends = np.cumsum([len(word) + 1 for word in words])
    ranges = tuple((int(end) - len(word) - 1, int(end) - 1) for word, end in zip(words, ends, strict=True))
    return Document("given", " ".join(words), (), ranges)


# Letters, marks, blanks of all kinds, characters without a piece, and some of more than one code unit
TEXTS = st.text(
    st.sampled_from([*string.ascii_letters[:30], *" .,-\n\t\u00a0\u200b\ufe0f\u0301\u0085ß語𝔄🙂\ue0d8"]), max_size=80
)


class TestWords:
    def test_backbones_own(self, tokenizer: Tokenizer) -> None:
        (document,) = encode([Document("a", "Anna-Maria lives.", ())], tokenizer, LABELS).documents
        assert [document.document.text[a:b] for a, b in document.words] == ["Anna", "-", "Maria", "lives", "."]

    def test_whitespace(self, tokenizer: Tokenizer) -> None:
        settings = WindowSettings(words="whitespace")
        (document,) = encode([Document("a", " Anna-Maria  lives.", ())], tokenizer, LABELS, settings).documents
        assert document.words == ((1, 11), (13, 19))

    def test_given_ones_are_kept(self, tokenizer: Tokenizer) -> None:
        given_words = tokens("Anna-Maria", "lives", ".")
        assert encode([given_words], tokenizer, LABELS).documents[0].words == given_words.words

    def test_special_tokens_in_a_text_are_text(self, tokenizer: Tokenizer) -> None:
        (window,) = encode([Document("a", "[SEP] anna [CLS]", ())], tokenizer, LABELS).windows
        assert window.input_ids.count(tokenizer.token_to_id("[SEP]")) == 1

    def test_byte_level_pieces_that_carry_a_blank(self) -> None:
        own = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(["Ġ", *string.ascii_lowercase])}, merges=[]))
        own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        own.post_processor = processors.ByteLevel(trim_offsets=False)
        encoded = encode([Document("a", "ab  cd e", (Span(4, 6, "PER"),))], own, LABELS)
        assert encoded.documents[0].words == ((0, 2), (4, 6), (7, 8))
        assert encoded.missed_spans == 0
        assert all(len(window.first) == 3 for window in encoded.windows)


class TestGold:
    def test_snapped_to_words(self, tokenizer: Tokenizer) -> None:
        document = Document("a", "by Anna Baker .", (Span(2, 14, "PER"),))
        (tagged,) = encode([document], tokenizer, LABELS).documents
        assert tagged.gold == tagged.held == {Span(3, 13, "PER")}
        assert [LABELS.names[tag] for tag in tagged.tags] == ["O", "B-PER", "I-PER", "O"]

    def test_what_iob2_cannot_hold_stays_gold_and_is_missed(self, tokenizer: Tokenizer) -> None:
        inner, cut, outer = Span(5, 10, "LOC"), Span(1, 3, "LOC"), Span(0, 10, "PER")
        encoded = encode([Document("a", "Anna Baker", (inner, cut, outer))], tokenizer, LABELS)
        assert encoded.documents[0].gold == {inner, cut, outer}
        assert encoded.missed_spans == 2
        scores = evaluate(encoded, oracle(encoded))
        assert (scores.per_entity["PER"].recall, scores.per_entity["LOC"].recall) == (1.0, 0.0)


class TestWindows:
    @settings(max_examples=80, deadline=None)
    @given(texts=st.lists(TEXTS, min_size=1, max_size=3), stride=st.integers(0, 5))
    def test_every_word_with_a_piece_is_read_and_no_gold_is_lost(
        self, tokenizer: Tokenizer, texts: list[str], stride: int
    ) -> None:
        own = WindowSettings(max_length=10, stride=stride)
        bare = encode([Document("a", text, ()) for text in texts], tokenizer, LABELS, own)
        documents = [
            Document("a", tagged.document.text, tuple(Span(*word, "PER") for word in tagged.words[::2]))
            for tagged in bare.documents
        ]
        encoded = encode(documents, tokenizer, LABELS, own)
        for number, tagged in enumerate(encoded.documents):
            assert tagged.gold == set(tagged.document.spans)
            read = {word for window in encoded.windows if window.document == number for word in window.words}
            assert read == set(range(len(tagged.words)))
        assert all(len(window.input_ids) <= 10 for window in encoded.windows)
        assert predictions(encoded, oracle(encoded))[0] == [tagged.gold for tagged in encoded.documents]

    @settings(max_examples=50, deadline=None)
    @given(text=TEXTS)
    def test_given_words_without_pieces_keep_their_place(self, tokenizer: Tokenizer, text: str) -> None:
        document = tokens(*(text.split() or ["x"]))
        encoded = encode([document], tokenizer, LABELS, SMALL)
        assert len(merge(encoded, oracle(encoded))[0]) == len(document.words or ())

    def test_a_word_without_pieces_is_o(self, tokenizer: Tokenizer) -> None:
        document = tokens("anna", "\u200b", "baker")
        encoded = encode([document], tokenizer, LABELS)
        (window,) = encoded.windows
        assert window.words == (0, 2)
        sure = [np.eye(7)[[5, 5]] * 9]
        assert predictions(encoded, sure)[1] == [[5, 0, 5]]
        silent = merge(encoded, sure)[0][1]
        assert silent[0] > silent[1:].max()

    def test_text_without_any_piece(self, tokenizer: Tokenizer) -> None:
        encoded = encode([Document("a", "", ()), tokens("\u200b"), Document("b", " \n", ())], tokenizer, LABELS)
        assert encoded.windows == ()
        assert predictions(encoded, [])[1] == [[], [0], []]
        assert word_loss(encoded, []) == 0.0

    def test_overlap_is_the_stride_and_specials_surround(self, tokenizer: Tokenizer) -> None:
        encoded = encode([Document("a", "a b c d e f g h i j k l m n", ())], tokenizer, LABELS, SMALL)
        bodies = [window.input_ids[1:-1] for window in encoded.windows]
        assert all(before[-3:] == after[:3] for before, after in itertools.pairwise(bodies))
        assert [len(body) for body in bodies] == [8, 8, 4]
        ends = {(window.input_ids[0], window.input_ids[-1]) for window in encoded.windows}
        assert ends == {(tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]"))}

    def test_no_window_that_says_nothing_new(self, tokenizer: Tokenizer) -> None:
        counts = [
            len(encode([Document("a", "a " * n, ())], tokenizer, LABELS, SMALL).windows) for n in (1, 3, 8, 9, 13, 14)
        ]
        assert counts == [1, 1, 1, 2, 2, 3]

    def test_a_word_speaks_from_where_it_is_farthest_from_a_cut(self, tokenizer: Tokenizer) -> None:
        encoded = encode([Document("a", "a b c d e f g h i j k l m", ())], tokenizer, LABELS, SMALL)
        assert [window.words for window in encoded.windows] == [tuple(range(8)), tuple(range(5, 13))]
        told = [np.full((8, 7), float(number)) for number in range(2)]
        speaker = merge(encoded, told)[0][:, 0].tolist()
        assert speaker == [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]  # word 6 lies 1 from either cut: the earlier speaks

    def test_a_cut_word_is_left_to_the_other_window(self, tokenizer: Tokenizer) -> None:
        encoded = encode([Document("a", "a b c d e f xyxy g h", ())], tokenizer, LABELS, SMALL)
        margins = [dict(zip(window.words, window.margin, strict=True)).get(6) for window in encoded.windows]
        assert margins[0] == -2
        assert (
            merge(encoded, [np.full((len(w.first), 7), float(n)) for n, w in enumerate(encoded.windows)])[0][6, 0] == 1
        )

    def test_training_labels_lie_on_first_pieces_only(self, tokenizer: Tokenizer) -> None:
        document = Document("a", "Baker lives", (Span(0, 5, "PER"),))  # bak ##er lives
        encoded = encode([document], tokenizer, LABELS)
        assert encoded.windows[0].labels(encoded.documents[0].tags) == [IGNORED, 5, IGNORED, 0, IGNORED]

    def test_20000_pieces(self, tokenizer: Tokenizer) -> None:
        names = tuple(Span(start, start + 4, "PER") for start in range(0, 90_000, 90))
        document = Document("a", "anna went to work " * 5_000, names)
        encoded = encode([document], tokenizer, LABELS)
        assert encoded.pieces == 20_000
        assert evaluate(encoded, oracle(encoded)).micro_f1_span == 1.0

    def test_tokenizers_own_cut_and_padding_are_not_used(self, tokenizer: Tokenizer) -> None:
        assert tokenizer.truncation["max_length"] == tokenizer.padding["length"] == 32
        short, long = encode([Document("a", "anna", ()), Document("b", "anna " * 50, ())], tokenizer, LABELS).windows
        assert (len(short.input_ids), len(long.input_ids)) == (3, 52)

    def test_unknown_share(self, tokenizer: Tokenizer) -> None:
        assert encode([Document("a", "anna 語 語 a", ())], tokenizer, LABELS).unk_share == 0.5

    @pytest.mark.parametrize(
        ("length", "stride", "words"), [(10, 10, "pretokenizer"), (10, -1, "whitespace"), (8, 2, "x")]
    )
    def test_bad_settings(self, length: int, stride: int, words: str) -> None:
        with pytest.raises(ConfigError):
            WindowSettings(length, stride, words)

    def test_no_room_to_advance(self, tokenizer: Tokenizer) -> None:
        with pytest.raises(ConfigError, match="at least 11"):
            encode([], tokenizer, LABELS, WindowSettings(10, 8))
        encode([Document("a", "a b c d e f g h i j k", ())], tokenizer, LABELS, WindowSettings(11, 8))


class TestSilentWords:
    def test_words_that_no_piece_stands_for_are_counted(self, tokenizer: Tokenizer) -> None:
        assert encode([tokens("anna", "\u200b", "baker"), tokens("a")], tokenizer, LABELS).silent_words == 1


class TestLoss:
    def test_a_word_counts_once(self, tokenizer: Tokenizer) -> None:
        """A word that two windows hold is scored from one: the mean is that of the merged rows."""
        encoded = encode(tiny.documents(8, 5), tokenizer, LABELS, SMALL)
        rng = np.random.default_rng(0)
        logits = [rng.normal(size=(len(window.first), 7)) for window in encoded.windows]
        rows = np.concatenate(merge(encoded, logits)).astype(np.float64)
        gold = [tag for document in encoded.documents for tag in document.tags]
        expected = -np.mean([row[tag] - np.log(np.exp(row).sum()) for row, tag in zip(rows, gold, strict=True)])
        assert word_loss(encoded, logits) == pytest.approx(expected)
        assert sum(len(window.words) for window in encoded.windows) > len(gold)


def test_pad_batch(tokenizer: Tokenizer) -> None:
    encoded = encode([Document("a", "anna", ()), Document("b", "anna baker", ())], tokenizer, LABELS)
    ids, mask = pad_batch(encoded.windows, pad_id=9)
    assert ids.shape == mask.shape == (2, 5)  # [CLS] anna bak ##er [SEP]
    assert ids[0, 3:].tolist() == [9, 9]
    assert mask.sum(axis=1).tolist() == [3, 5]


def test_tiny_vocabulary_is_small() -> None:
    assert Path(tiny.VOCAB).stat().st_size < 8_000
