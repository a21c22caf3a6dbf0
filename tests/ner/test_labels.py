from __future__ import annotations

import itertools
import time
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, Entities

from nertrail.errors import ConfigError
from nertrail.ner.labels import LabelSet, decode, decode_all, runs_of, snap, spans_of, tags_of
from nertrail.ner.readers import Span

LABELS = LabelSet(("LOC", "PER"))
WORDS = [(0, 3), (4, 7), (8, 12), (12, 13), (20, 24)]


def legal(tags: list[int]) -> bool:
    """I-x needs B-x or I-x before it."""
    return all(tag == 0 or tag % 2 or before in (tag - 1, tag) for before, tag in itertools.pairwise([0, *tags]))


@cache
def legal_paths(length: int) -> np.ndarray:
    return np.array([path for path in itertools.product(range(5), repeat=length) if legal(list(path))])


def brute_force(logits: np.ndarray) -> float:
    return float(logits[range(len(logits)), legal_paths(len(logits))].sum(axis=1).max())


class TestLabelSet:
    def test_ids_follow_the_types(self) -> None:
        assert LABELS.names == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
        assert LABELS.id2label[3] == "B-PER"
        assert [LABELS.index(name) for name in LABELS.names] == [0, 1, 2, 3, 4]

    def test_unknown_name(self) -> None:
        with pytest.raises(KeyError):
            LABELS.index("B-ORG")


class TestSnap:
    @pytest.mark.parametrize(
        ("span", "extent"),
        [
            (Span(0, 3, "PER"), (0, 0)),
            (Span(0, 7, "PER"), (0, 1)),
            (Span(3, 8, "PER"), (1, 1)),  # blanks around
            (Span(12, 30, "PER"), (3, 4)),  # beyond the last word
            (Span(1, 3, "PER"), None),  # cuts a word at its start
            (Span(4, 10, "PER"), None),  # cuts one at its end
            (Span(9, 11, "PER"), None),  # inside of one
            (Span(13, 20, "PER"), None),  # between words
            (Span(30, 31, "PER"), None),
        ],
    )
    def test_edges(self, span: Span, extent: tuple[int, int] | None) -> None:
        assert snap([span], WORDS).get(span) == extent

    def test_no_words(self) -> None:
        assert snap([Span(0, 3, "PER")], []) == {}


class TestTags:
    def test_neighbours_of_one_type_stay_two(self) -> None:
        spans = [Span(0, 3, "PER"), Span(4, 7, "PER")]
        assert tags_of(spans, WORDS, LABELS) == ([3, 3, 0, 0, 0], frozenset(spans))

    @pytest.mark.parametrize("order", [1, -1])
    def test_outer_wins(self, order: int) -> None:
        outer, inner = Span(0, 12, "LOC"), Span(4, 7, "PER")
        assert tags_of([outer, inner][::order], WORDS, LABELS) == ([1, 2, 2, 0, 0], frozenset([outer]))

    def test_of_equal_overlaps_the_first_wins(self) -> None:
        first, second = Span(0, 7, "PER"), Span(4, 12, "LOC")
        assert tags_of([second, first], WORDS, LABELS)[1] == frozenset([first])

    def test_unknown_type_is_not_held(self) -> None:
        assert tags_of([Span(0, 3, "ORG")], WORDS, LABELS) == ([0] * 5, frozenset())

    @given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from(LABELS.types)), max_size=6))
    def test_what_is_held_comes_back(self, extents: list[tuple[int, int, str]]) -> None:
        spans = [Span(WORDS[min(a, b)][0], WORDS[max(a, b)][1], kind) for a, b, kind in extents]
        tags, held = tags_of(spans, WORDS, LABELS)
        assert spans_of(tags, WORDS, LABELS) == held
        assert legal(tags)

    @given(st.lists(st.sampled_from(LABELS.names), max_size=8))
    def test_spans_are_those_of_strict_seqeval(self, tags: list[str]) -> None:
        words = [(2 * position, 2 * position + 1) for position in range(len(tags))]
        expected = {
            Span(words[found.start][0], words[found.end - 1][1], found.tag)
            for found in Entities([tags], IOB2).entities[0]
        }
        assert spans_of(tags, words, LABELS) == expected

    @given(st.lists(st.lists(st.integers(0, 4), max_size=5), max_size=5))
    def test_runs_of_many_texts_are_the_spans_of_each(self, texts: list[list[int]]) -> None:
        offsets = np.cumsum([0, *map(len, texts)])
        tags = np.array([tag for text in texts for tag in text], dtype=np.int64)
        found = {(begin, end, tags[begin] // 2) for begin, end in zip(*runs_of(tags, offsets), strict=True)}
        expected = {
            (base + span.start, base + span.end, LABELS.types.index(span.type))
            for base, text in zip(offsets.tolist(), texts, strict=False)
            for span in spans_of(text, [(place, place + 1) for place in range(len(text))], LABELS)
        }
        assert found == expected

    def test_orphan_is_no_span(self) -> None:
        assert get_entities(["I-PER"]) == [("PER", 0, 0)]  # the lenient reading, which ours is not
        assert spans_of(["I-PER", "B-LOC", "I-PER"], WORDS, LABELS) == {Span(4, 7, "LOC")}


class TestDecode:
    @settings(max_examples=150, deadline=None)
    @given(st.integers(1, 5), st.integers(0, 10_000), st.sampled_from([0.0, 4.0]))
    def test_viterbi_is_the_best_legal_path(self, length: int, seed: int, favour_inside: float) -> None:
        logits = np.random.default_rng(seed).normal(size=(length, 5)) * 3
        logits[:, 2::2] += favour_inside  # else long entities, and ways to begin them, are rarely the best
        tags = decode(logits, LABELS)
        assert legal(tags)
        assert logits[range(len(tags)), tags].sum() == pytest.approx(brute_force(logits), abs=1e-4)

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.integers(0, 7), max_size=6), st.integers(0, 99))
    def test_many_texts_decode_as_each_alone(self, lengths: list[int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        texts = [rng.normal(size=(length, 5)) for length in lengths]
        assert decode_all(texts, LABELS) == [decode(text, LABELS) for text in texts]

    def test_argmax_takes_each_word_alone(self) -> None:
        logits = np.eye(5)[[2, 4, 0]]
        assert decode(logits, LABELS, "argmax") == [2, 4, 0]
        assert legal(decode(logits, LABELS))

    def test_no_text_and_no_types(self) -> None:
        assert decode_all([], LABELS) == []
        assert decode(np.zeros((0, 5)), LABELS) == []
        assert decode(np.zeros((3, 1)), LabelSet(())) == [0, 0, 0]

    def test_unknown_method(self) -> None:
        with pytest.raises(ConfigError, match=r"'beam'[\s\S]*viterbi, argmax"):
            decode(np.zeros((1, 5)), LABELS, "beam")

    def test_fast_on_a_whole_split(self) -> None:
        """As many sentences as WNUT-17's test split, and one text of 20,000 words beside them."""
        rng = np.random.default_rng(0)
        texts = [rng.normal(size=(length, 13)).astype(np.float32) for length in rng.integers(1, 40, 1287)]
        labels = LabelSet(tuple("abcdef"))
        begun = time.process_time()
        decode_all(texts, labels)
        assert time.process_time() - begun < 0.5  # takes 0.02; the bound allows for a busy machine
        assert len(decode_all([*texts, rng.normal(size=(20_000, 13))], labels)[-1]) == 20_000
