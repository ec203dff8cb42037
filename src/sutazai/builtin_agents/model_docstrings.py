"""First sentences of docstrings in a language model's words, where the code bears them out."""

import re
from collections.abc import Mapping

from sutazai.analysis.documentation.model import Undocumented
from sutazai.analysis.excerpts import Place
from sutazai.analysis.pool import AnalysisPool
from sutazai.analysis.reviewer import Reviewable
from sutazai.builtin_agents.model_comments import (
    Brief,
    Comment,
    Comments,
    Fact,
    Question,
    clean,
    strange,
    surroundings,
)

_EXCEPTION = re.compile(r"\b\w+(?:Error|Exception|Warning)\b")
_RAISES = re.compile(r"\brais(?:es?|ed|ing)\b", re.IGNORECASE)
_RETURNS = re.compile(r"\b(?:returns?|yields?)\b", re.IGNORECASE)
# One sentence of plain characters: what ends a docstring, or is a mask, has no place in one.
_SENTENCE = re.compile(r"[A-Z][^\\\"*]{10,150}[^.!?\\\"*]\.")


class _Sentence(Comment, kw_only=True):
    sentence: Brief


_SENTENCE_OF = Question(
    _Sentence,
    "You write docstrings. For each candidate write one plain sentence that says what the function "
    "does for its caller, beginning with a verb. Name no code that is not there, and say nothing "
    "of exceptions.",
)


async def sentences(
    pool: AnalysisPool, what: Reviewable, wanted: list[Undocumented], comments: Comments
) -> dict[str, str]:
    """By the path of the function, as far as they hold; a model's failure is no failure."""
    told: dict[str, str] = {}
    by_path = {one.path: one for one in wanted}
    async with comments.asking():
        places = [Place(file=one.file, line=one.line) for one in wanted]
        excerpts = (await surroundings(pool, what, places)).places if wanted else []
        facts = [
            Fact(key=one.path, label="A function", text=f"{one.path}\n{excerpt.numbered}")
            for one, excerpt in zip(wanted, excerpts, strict=True)
            if excerpt is not None
        ]

        def unfounded(fact: Fact, said: _Sentence) -> str | None:
            return _unfounded(fact, said, by_path)

        async for fact, said in comments.on(facts, _SENTENCE_OF, unfounded):
            told[fact.key] = clean(said.sentence)
    return told


def _unfounded(fact: Fact, said: _Sentence, by_path: Mapping[str, Undocumented]) -> str | None:
    """Why a sentence does not go into a docstring; None where it may."""
    text, function = clean(said.sentence), by_path[fact.key]
    if not _SENTENCE.fullmatch(text) or ". " in text:
        return "it is not one plain sentence"
    unknown = strange(text, fact.text)
    if unknown is not None:
        return f"the function has no {unknown}"
    named = [one for one in _EXCEPTION.findall(text) if one not in function.raises]
    if named or (_RAISES.search(text) and not function.raises):
        return "it raises nothing of the kind"
    if _RETURNS.search(text) and not function.has_output:
        return "nothing comes back"
    return None
