"""Tokens by chunk are NLTK's tokens of the sentence; a text in which no sentence may end is one sentence."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktLanguageVars

from catlipctl.labels import tokens, wordnet

NLTK = NLTKWordTokenizer()
MARKS = ["", ",", ".", "..", ":", "'", "'s", "s'", '"', ")", ".)", "?", "-", "--", "/", "_", "n't"]
WHOLE = ["cannot", "gonna", "wanna", "'tis", "d'ye", "more'n", "dog's'", ".", ")", '"', "'", "a."]
# The marks that rules name, more often than letters, digits and what else there is.
RULED = st.sampled_from("\"\"'''`.,:;?!()[]{}<>-_*#$%&@«»“”‘’„–stdmn2")
OTHER = st.characters(exclude_categories=["Cs"]).filter(lambda character: not character.isspace())
CHUNKS = st.text(RULED | RULED | OTHER, min_size=1, max_size=6) | st.sampled_from(WHOLE)


def by_chunk(chunks: list[str]) -> list[str]:
    *within, last = chunks
    found = [token for chunk in within for token in tokens.words_of_chunk(chunk, "a ", " a")]
    return found + tokens.words_of_chunk(last, "a " if within else "")


@settings(max_examples=2_000)
@given(st.lists(CHUNKS, min_size=1))
def test_a_sentence_has_the_tokens_of_its_chunks(chunks: list[str]) -> None:
    sentence = " ".join(chunks).lower()
    chunks = sentence.split()
    if len(chunks) == 1 or tokens.independent(chunks):
        assert by_chunk(chunks) == NLTK.tokenize(sentence)


def test_words_that_are_spared_the_tokenizer() -> None:
    lemmas = [lemma.lower() for key in wordnet.nouns().keys[::200] for lemma in wordnet.nouns().lemmas(key)]
    for word in [*lemmas, "cannot", "wannabe", "x-gonna-x", "2-3", "1,000", "a-", "-a", "a--b"]:
        for mark in MARKS:
            for chunks in ([word + mark], [word + mark, "dog"], ["a", word + mark]):
                assert by_chunk(chunks) == NLTK.tokenize(" ".join(chunks))


@pytest.mark.parametrize("sentence", ["a dog. )", "a dog. ' ]", "dog. )", "a dog. »"])
def test_dependent_chunks_are_not_taken_apart(sentence: str) -> None:
    # The period is split off, however far from the sentence's end: chunk by chunk it would not be.
    assert not tokens.independent(sentence.split())
    assert "dog" in NLTK.tokenize(sentence)
    assert "dog" not in by_chunk(sentence.split())


@settings(max_examples=2_000)
@given(st.text(st.sampled_from(" .?!)\"';a:@}*({[‘»\t\n\x1c\x85\xa0-,2") | st.characters(), max_size=12))
def test_a_text_where_no_sentence_may_end_is_one(text: str) -> None:
    if not tokens.SENTENCE_END.search(text):
        assert not PunktLanguageVars().period_context_re().search(text)


def test_nltk_has_the_rules_that_were_read() -> None:
    """Where this fails, read the docstring of `tokens` against the new rules, then change the digest here."""
    rules = [*NLTK.STARTING_QUOTES, *NLTK.PUNCTUATION, NLTK.PARENS_BRACKETS, NLTK.DOUBLE_DASHES]
    rules += NLTK.ENDING_QUOTES
    read = [f"{pattern.pattern} {substitution}" for pattern, substitution in rules]
    read += [pattern.pattern for pattern in (*NLTK.CONTRACTIONS2, *NLTK.CONTRACTIONS3)]
    assert hashlib.sha256("\n".join(read).encode()).hexdigest()[:16] == "18670f34996760eb"
