"""Tokenizers as they are used here: cutting nothing, padding nothing, saying where every piece lies."""

from __future__ import annotations

from tokenizers import Tokenizer

from nertrail.errors import ModelError

PROBE = "a word"


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, as a copy if it cuts or pads: all-MiniLM's file does both at 128 pieces."""
    if tokenizer.truncation is None and tokenizer.padding is None and tokenizer.encode_special_tokens:
        return tokenizer  # a copy takes 0.1 s, too long for every prediction
    return clear(Tokenizer.from_str(tokenizer.to_str()))


def clear(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer itself, made to cut nothing, pad nothing and read special tokens in a text as text."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def check_offsets(tokenizer: Tokenizer, place: str) -> None:
    """Raise ModelError where pieces don't say which characters they stand for: no span could be found again."""
    encoding = tokenizer.encode(PROBE, add_special_tokens=False)
    covered = [end - start for start, end in encoding.offsets if 0 <= start < end <= len(PROBE)]
    if encoding.ids and not covered:
        remedy = "choose a backbone whose tokenizer.json keeps offsets"
        raise ModelError(f"its tokenizer gives no offsets: {encoding.offsets}", place=place, remedy=remedy)


def specials(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids that the tokenizer puts before and after a text."""
    encoding = tokenizer.encode("a")
    own = [index for index, special in enumerate(encoding.special_tokens_mask) if not special]
    return encoding.ids[: own[0]], encoding.ids[own[-1] + 1 :]


def unknown_id(tokenizer: Tokenizer) -> int:
    """Id of the piece that stands for what the vocabulary lacks; -1, which no piece has, if there is none."""
    token = getattr(tokenizer.model, "unk_token", None) or "<unk>"
    found = tokenizer.token_to_id(token)
    return -1 if found is None else int(found)
