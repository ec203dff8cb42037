"""Summaries without a language model: the sentences that say most, in their own words and order.

Sentences that share rare words recommend each other (TextRank, with words weighed by how rare they
are); the most recommended are taken, leaving out those that repeat one that was taken. Runs in a
worker process, by `AnalysisPool.call`.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from sutazai.analysis.globs import InputError
from sutazai.analysis.reading import Taken, take
from sutazai.analysis.reviewer import Reviewable

_BLOCK = 150
"""Sentences that are compared with each other; longer texts are reduced block by block."""
_ROUNDS = 20
_DAMPING = 0.85
_ALIKE = 0.6
_SHORTEST = 3
_LONGEST = 2_000

_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[\w¿¡])|(?<=[。！？])")  # noqa: RUF001  # Chinese ends its sentences so
_ABBREVIATED = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|sr|jr|st|vs|etc|e\.g|i\.e|cf|al|inc|ltd|co|no|fig|eq|vol|pp?|ca|bzw"
    r"|z\.b|d\.h|u\.a|approx|dept|est|gen|gov|rev|sen|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)"
    r"|\b[A-Za-z])\.$",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_][\w'\u2019-]*|\d[\d.,:/-]*\d|\d")
_BULLET = re.compile(r"^\s*(?:[-*•+]|\d{1,3}[.)])\s+")
_UNDERLINE = re.compile(r"^\s*(?:=+|-+|~+|#+)\s*$")
# Words that say nothing of the subject; what is frequent in the text is weighed down besides.
_EMPTY_WORDS = """
a about above after again all also although always am an and any are as at be because been before
being below between both but by can cannot could did do does doing down during each either else
ever every few for from further had has have having he her here hers him his how however i if in
into is it its itself just less like made make many may me might more most much must my no nor not
now of off often on once one only or other our out over own per quite rather same several she
should since so some still such than that the their them then there these they this those through
thus to too under until up upon us very was we well were what when where whether which while who
whose why will with within without would yet you your der die das und oder ist sind ein eine einen
dem den des im zu von mit auf für nicht auch sich wie bei aus nach wird le la les un une et ou est
sont du de dans en pour que qui sur au aux pas ne se ce cette el los las y o es son del por con
una para lo al
"""
_EMPTY = frozenset(_EMPTY_WORDS.split())


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """What to summarise: a text, or else files; `sentences` at most, None for a fitting number."""

    text: str | None = None
    what: Reviewable | None = None
    sentences: int | None = None


class Sentence(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence of the text; `position` counts from 1, `score` is 1 for the best."""

    text: str
    position: int
    score: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The best sentences in the order of the text, and the text itself, as it was read."""

    sentences: list[Sentence]
    total: int
    source: str


def summarise(wanted: Text) -> Summary:
    """The summary. Raises InputError where there is nothing to summarise."""
    text = wanted.text if wanted.text is not None else _read(wanted.what)
    sentences = split(text)
    if not sentences:
        raise InputError("There is no text to summarise.")
    number = wanted.sentences or max(2, min(8, round(math.sqrt(len(sentences)))))
    scored = _scored(sentences, number)
    best = max((score for _, score in scored), default=1.0) or 1.0
    chosen = _diverse(sentences, scored, number)
    return Summary(
        sentences=[
            Sentence(text=sentences[at], position=at + 1, score=round(score / best, 4))
            for at, score in sorted(chosen)
        ],
        total=len(sentences),
        source=text,
    )


def _read(what: Reviewable | None) -> str:
    taken = take(what) if what is not None else Taken()
    if not taken.sources:
        raise taken.nothing("text to summarise")
    return "\n\n".join(source.text for source in taken.sources)


def split(text: str) -> list[str]:
    """The sentences, without headings' underlines, bullets and line breaks."""
    found: list[str] = []
    for paragraph in _paragraphs(text):
        begun: list[str] = []
        length = 0
        for piece in _END.split(paragraph):
            begun.append(piece.strip())
            length += len(piece)
            if length < _LONGEST and _ABBREVIATED.search(piece.rstrip()[-12:]):
                continue
            found.append(" ".join(begun)[:_LONGEST].strip())
            begun, length = [], 0
        found.append(" ".join(begun)[:_LONGEST].strip())
    return [one for one in found if one]


def _paragraphs(text: str) -> Iterator[str]:
    lines: list[str] = []
    in_code = False
    for line in [*text.splitlines(), ""]:
        if line.lstrip().startswith(("```", "~~~")):
            in_code = not in_code
            continue
        if in_code or line.lstrip().startswith("|"):  # code and tables are no sentences
            continue
        apart = not line.strip() or _UNDERLINE.match(line) is not None
        begins = _BULLET.match(line) is not None or line.lstrip().startswith("#")
        if (apart or begins) and lines:
            yield " ".join(lines)
            lines = []
        if not apart:
            lines.append(_BULLET.sub("", line).strip().lstrip("#").strip())
            if line.lstrip().startswith("#"):
                yield " ".join(lines)
                lines = []


def words(text: str) -> list[str]:
    """The words that say something, in a form that is the same for singular and plural."""
    found = (match.group().lower() for match in _WORD.finditer(text))
    return [_stem(word) for word in found if word not in _EMPTY]


def _stem(word: str) -> str:
    for ending in ("\u2019s", "'s", "ies", "ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            stem = word[: -len(ending)]
            return stem + "y" if ending == "ies" else stem
    return word


def _scored(sentences: Sequence[str], number: int) -> list[tuple[int, float]]:
    places = list(range(len(sentences)))
    while len(places) > _BLOCK:
        kept: list[int] = []
        share = max(number, _BLOCK // 5)
        for begin in range(0, len(places), _BLOCK):
            block = places[begin : begin + _BLOCK]
            scores = _ranks([sentences[at] for at in block], block, len(sentences))
            best = sorted(zip(block, scores, strict=True), key=lambda one: (-one[1], one[0]))
            kept += sorted(at for at, _ in best[:share])
        places = kept if len(kept) < len(places) else places[:_BLOCK]
    return list(
        zip(places, _ranks([sentences[at] for at in places], places, len(sentences)), strict=True)
    )


def _vectors(sentences: Sequence[str]) -> list[dict[str, float]]:
    counted = [Counter(words(sentence)) for sentence in sentences]
    holding = Counter(word for counts in counted for word in counts)
    total = len(sentences)
    vectors = []
    for counts in counted:
        vector = {
            word: (1 + math.log(count)) * math.log(1 + total / holding[word])
            for word, count in counts.items()
        }
        length = math.sqrt(sum(value * value for value in vector.values())) or 1.0
        vectors.append({word: value / length for word, value in vector.items()})
    return vectors


def _alike(one: dict[str, float], other: dict[str, float]) -> float:
    if len(other) < len(one):
        one, other = other, one
    return sum(value * other[word] for word, value in one.items() if word in other)


def _ranks(sentences: Sequence[str], places: Sequence[int], total: int) -> list[float]:
    vectors = _vectors(sentences)
    count = len(vectors)
    links: list[list[tuple[int, float]]] = [[] for _ in vectors]
    for one in range(count):
        for other in range(one):
            weight = _alike(vectors[one], vectors[other])
            if weight > 0.02:
                links[one].append((other, weight))
                links[other].append((one, weight))
    out = [sum(weight for _, weight in of) for of in links]
    # Where a text begins and ends it tends to say what it is about.
    prior = [1.0 + 0.5 * (at < 2) + 0.25 * (at >= total - 1) for at in places]
    whole = sum(prior)
    prior = [value / whole for value in prior]
    ranks = prior
    for _ in range(_ROUNDS):
        ranks = [
            (1 - _DAMPING) * prior[one]
            + _DAMPING * sum(ranks[other] * weight / out[other] for other, weight in links[one])
            for one in range(count)
        ]
    # A fragment says little, however well it is linked; nobody wants a monster either.
    return [rank * _fitting(len(vector)) for rank, vector in zip(ranks, vectors, strict=True)]


def _fitting(length: int) -> float:
    if length < _SHORTEST:
        return 0.2
    return 1.0 if length <= 40 else 40 / length


def _diverse(
    sentences: Sequence[str], scored: Sequence[tuple[int, float]], number: int
) -> list[tuple[int, float]]:
    """The best ones, but none that says again what a better one says."""
    vectors = dict(
        zip([at for at, _ in scored], _vectors([sentences[at] for at, _ in scored]), strict=True)
    )
    chosen: list[tuple[int, float]] = []
    for at, score in sorted(scored, key=lambda one: (-one[1], one[0])):
        if all(_alike(vectors[at], vectors[other]) < _ALIKE for other, _ in chosen):
            chosen.append((at, score))
            if len(chosen) == number:
                break
    return chosen


def unsupported(sentence: str, source: str, known: frozenset[str]) -> str | None:
    """Why a sentence of somebody's summary is not borne out by the source; None where it is.

    `known` are the source's `words`. Every number, and every name, must be in the source, and so
    must most of what else it says.
    """
    for match in re.finditer(r"\d[\d.,:/-]*\d|\d", sentence):
        if match.group() not in source:
            return f"the source has no {match.group()}"
    lowered = source.lower()
    for match in re.finditer(r"(?<![.!?:]\s)(?<!^)\b[A-Z][\w'\u2019-]{2,}", sentence):
        if match.group().lower() not in lowered:
            return f"the source has no {match.group()}"
    said = words(sentence)
    if not said:
        return "it says nothing"
    missing = [word for word in said if word not in known]
    if len(missing) > len(said) * 0.4:
        return "most of it is not in the source"
    return None
