"""Summaries from a text's own sentences."""

import pytest

from sutazai.analysis.globs import InputError
from sutazai.analysis.summaries import Text, split, summarise, unsupported, words

STORY = """
Dr. Smith works at the U.S. Geological Survey. The volcano erupted on Monday after months of unrest.
Ash from the eruption of the volcano closed three airports. Officials said that 2,500 people left
their homes. The weather was mild. The volcano had last erupted in 1984. Scientists of the survey
had warned of an eruption of the volcano for weeks. A festival was cancelled.
"""


def best(text: str, sentences: int | None = None) -> list[str]:
    return [one.text for one in summarise(Text(text=text, sentences=sentences)).sentences]


def test_sentences_end_where_they_end() -> None:
    assert split("Dr. No came. He left, e.g. by boat! Why? J. Bond knew it.") == [
        "Dr. No came.",
        "He left, e.g. by boat!",
        "Why?",
        "J. Bond knew it.",
    ]
    assert split(
        "# Title\n\n- one thing\n- another\n\n```\ncode. More code.\n```\n| a | b |\n"
    ) == [
        "Title",
        "one thing",
        "another",
    ]
    assert split("第一。第二。") == ["第一。", "第二。"]


def test_the_sentences_that_share_most_are_taken_in_their_order() -> None:
    chosen = best(STORY, 3)
    assert "The volcano erupted on Monday after months of unrest." in chosen
    assert all("volcano" in sentence for sentence in chosen)
    whole = split(STORY)
    assert [whole.index(one) for one in chosen] == sorted(whole.index(one) for one in chosen)


def test_nothing_is_said_twice() -> None:
    again = STORY + " On Monday, after months of unrest, the volcano erupted."
    assert sum("Monday" in one for one in best(again, 4)) == 1


def test_the_number_of_sentences_grows_with_the_text_but_slowly() -> None:
    assert len(best(STORY)) == 3
    long = " ".join(f"Sentence {n} tells of thing {n} and thing {n + 1}." for n in range(2_000))
    assert len(best(long)) == 8


def test_the_same_text_has_the_same_summary() -> None:
    assert summarise(Text(text=STORY)) == summarise(Text(text=STORY))


@pytest.mark.parametrize("text", ["", "  \n ", "```\nonly code\n```", "---\n==="])
def test_no_text_is_no_summary(text: str) -> None:
    with pytest.raises(InputError):
        summarise(Text(text=text))


@pytest.mark.parametrize(
    "text", ["x" * 500_000, "a. " * 50_000, "!?" * 100_000, "\n" * 300_000 + "a"]
)
def test_odd_texts_take_no_time(text: str) -> None:
    assert len(best(text, 3)) <= 3


def test_what_the_source_does_not_bear_out_is_found() -> None:
    known = frozenset(words(STORY))
    fine = ("The volcano erupted and closed three airports.", "Scientists had warned for weeks.")
    assert [unsupported(one, STORY, known) for one in fine] == [None, None]
    assert unsupported("The volcano killed 12 people.", STORY, known) == "the source has no 12"
    wrong = unsupported("The volcano Etna erupted on Monday.", STORY, known)
    assert wrong == "the source has no Etna"
    invented = unsupported("Aliens and wizards celebrated joyfully tonight.", STORY, known)
    assert invented == "most of it is not in the source"
