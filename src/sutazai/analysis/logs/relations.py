"""Bursts, silences, and templates that come together: figures with what they were held against."""

import math
import statistics
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec

from sutazai.analysis.logs.mining import Template

_WIDTHS = (1, 5, 10, 30, 60, 300, 600, 1_800, 3_600, 10_800, 21_600, 86_400)
_MOST_BUCKETS = 240
_FEWEST = 5
_DEVIATIONS = 6.0
_TIMES_USUAL = 4.0
_WINDOW = 5
_WINDOW_SECONDS = 5.0
_CONFIDENCE = 0.8
_LIFT = 1.25
_DEVIATIONS_ABOVE = 4.0
_SUPPORT = 3
_MOST_PARTNERS = 300


class Burst(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which a template came far more often than it usually does."""

    template: int
    start: float
    end: float
    count: int
    peak: int
    usual: float
    bucket_seconds: int


class Follows(msgspec.Struct, frozen=True, kw_only=True):
    """Of `of` occurrences of `first`, `times` were soon followed by `then`; `lift` over chance."""

    first: int
    then: int
    times: int
    of: int
    lift: float


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """Templates that name the same id, for `ids` different ids; one of them is shown."""

    templates: list[int]
    ids: int
    example: str


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A silence of the whole log, far longer than is usual between entries."""

    start: float
    end: float
    usual: float


def bucket_seconds(start: float, end: float) -> int:
    """The width of buckets that divide a time into at most 240."""
    return next((one for one in _WIDTHS if (end - start) / one <= _MOST_BUCKETS), _WIDTHS[-1])


def find_bursts(templates: Sequence[Template], start: float, end: float) -> list[Burst]:
    """The bursts of all templates, the strongest first."""
    width = bucket_seconds(start, end)
    buckets = min(int((end - start) // width) + 1, 100_000)
    if buckets < 5:
        return []
    found: list[Burst] = []
    for template in templates:
        if len(template.times) < _FEWEST:
            continue
        counts = Counter(int((time - start) // width) for time in template.times)
        found += _bursts_of(template, counts, buckets, start, width)
    return sorted(found, key=lambda one: -one.peak / (one.usual + 1))


def _bursts_of(
    template: Template, counts: Counter[int], buckets: int, start: float, width: int
) -> list[Burst]:
    # Buckets without any are most of them, and are not listed to take the median.
    values = sorted(counts.values())
    zeros = buckets - len(values)
    middle = buckets // 2
    median = 0.0 if middle < zeros else float(values[middle - zeros])
    deviations = sorted([abs(value - median) for value in values] + [median] * min(zeros, buckets))
    spread = 1.4826 * deviations[len(deviations) // 2]
    found: list[Burst] = []
    run: list[int] = []
    for bucket in [*sorted(counts), -1]:
        rest = (counts.total() - counts[bucket]) / max(buckets - 1, 1)
        least = max(_FEWEST, median + _DEVIATIONS * spread, _TIMES_USUAL * rest)
        is_high = bucket >= 0 and counts[bucket] >= least
        if run and (not is_high or bucket != run[-1] + 1):
            inside = sum(counts[one] for one in run)
            usual = (counts.total() - inside) / max(buckets - len(run), 1)
            found.append(
                Burst(
                    template=template.id,
                    start=start + run[0] * width,
                    end=start + (run[-1] + 1) * width,
                    count=inside,
                    peak=max(counts[one] for one in run),
                    usual=usual,
                    bucket_seconds=width,
                )
            )
            run = []
        if is_high:
            run.append(bucket)
    return found


def find_gaps(times: "array[float]") -> list[Gap]:
    """The silences of the whole log; times in their order."""
    if len(times) < 20:
        return []
    ordered = sorted(times)
    steps = [after - before for before, after in pairwise(ordered)]
    usual = max(statistics.median(steps), statistics.fmean(steps) / 2)
    found = [
        Gap(start=before, end=after, usual=usual)
        for before, after in pairwise(ordered)
        if after - before > max(20 * usual, 10.0)
    ]
    return sorted(found, key=lambda one: one.start - one.end)[:20]


def find_followers(
    order: "array[int]", moments: "array[float]", templates: Mapping[int, Template]
) -> list[Follows]:
    """Pairs of which the second comes soon after the first, far more often than by chance."""
    frequent = {
        one.id
        for one in sorted(templates.values(), key=lambda one: -one.count)[:_MOST_PARTNERS]
        if one.count >= _SUPPORT
    }
    occurrences: Counter[int] = Counter()
    pairs: Counter[tuple[int, int]] = Counter()
    for index, first in enumerate(order):
        if first not in frequent:
            continue
        occurrences[first] += 1
        after: set[int] = set()
        for other in range(index + 1, min(index + 1 + _WINDOW, len(order))):
            then = order[other]
            if then < 0 or _is_late(moments[index], moments[other]):
                break
            if then != first and then in frequent:
                after.add(then)
        for then in after:
            pairs[first, then] += 1
    total = max(sum(occurrences.values()), 1)
    found = []
    for (first, then), times in pairs.items():
        if times < _SUPPORT:
            continue
        confidence = times / occurrences[first]
        expected = 1 - (1 - occurrences[then] / total) ** _WINDOW
        lift = confidence / max(expected, 1e-9)
        # By how many standard deviations it is more often than by chance.
        spread = math.sqrt(max(expected * (1 - expected), 1e-9) / occurrences[first])
        is_certain = (confidence - expected) / spread >= _DEVIATIONS_ABOVE
        if confidence >= _CONFIDENCE and lift >= _LIFT and is_certain:
            found.append(
                Follows(
                    first=first, then=then, times=times, of=occurrences[first], lift=round(lift, 2)
                )
            )
    return sorted(found, key=lambda one: (-one.times * one.lift, one.first, one.then))


def _is_late(before: float, after: float) -> bool:
    return before >= 0 and after >= 0 and after - before > _WINDOW_SECONDS


def find_shared_ids(by_id: Mapping[str, Mapping[int, None]]) -> list[Shares]:
    """Sets of templates that name the same ids, the most frequent first."""
    groups: Counter[tuple[int, ...]] = Counter()
    examples: dict[tuple[int, ...], str] = {}
    for name, templates in by_id.items():
        if len(templates) >= 2:
            key = tuple(templates)
            groups[key] += 1
            examples.setdefault(key, name)
    return [
        Shares(templates=list(key), ids=count, example=examples[key])
        for key, count in groups.most_common(100)
        if count >= 2
    ]
