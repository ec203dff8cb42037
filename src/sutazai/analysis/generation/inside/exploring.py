"""The search for cases that do something new: first what is likely, then neighbours of finds."""

import os
import random
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from sutazai.analysis.generation.inside.cases import Arguments, Case, Slot, Target, script
from sutazai.analysis.generation.inside.checks import Check, Verdict, produced, verdict
from sutazai.analysis.generation.inside.forks import Send, run_forked
from sutazai.analysis.generation.inside.observing import TOO_LONG, Observer
from sutazai.analysis.generation.inside.reading import Words, body_lines
from sutazai.analysis.generation.inside.subject import Subject
from sutazai.analysis.generation.inside.tracing import Arc, Tracer
from sutazai.analysis.generation.inside.values import MODULE
from sutazai.analysis.generation.inside.variation import varied, varied_whole

_BATCH = 32
_BATCH_SECONDS = 12.0
_CHECK_SECONDS = 0.5
_FIRST_CASES = 48
_KEPT_A_BEHAVIOUR = 3
_KEPT_A_TARGET = 40
_FRUITLESS = 5
_MADE = 14
_MOST_LATE = 3
_MOST_DEATHS = 3
_DEATH = "it ended or stalled the process"
# Zones far from each other, written so that no database of zones is needed.
_ELSEWHERE = ({"TZ": "AAA+12", "HOME": "/nowhere", "USER": "somebody"}, {"TZ": "BBB-14"})


@dataclass
class Found:
    """What is known about one target so far."""

    target: Target
    words: Words
    kept: list[Check] = field(default_factory=list)
    behaviours: dict[Any, int] = field(default_factory=dict)
    seeds: list[Case] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)
    discarded: dict[str, int] = field(default_factory=dict)
    fruitless: int = 0
    deaths: int = 0

    @property
    def is_hopeless(self) -> bool:
        """Whether it only ever stalls or ends the process: more tries only cost time."""
        late = self.discarded.get(TOO_LONG, 0)
        return self.deaths >= _MOST_DEATHS or (late >= 2 * _MOST_LATE and not self.kept)


class Explorer:
    """Runs cases in forks and keeps, for each target, those that behave differently."""

    def __init__(
        self, subject: Subject, targets: Sequence[Target], observer: Observer, parallel: int
    ) -> None:
        self._subject = subject
        self._observer = observer
        self._parallel = parallel
        self._chance = random.Random(20)  # noqa: S311  # the same input gives the same tests
        self._numbers = 0
        reading = subject.reading
        self.found = {
            _key(target): Found(target, _words(subject, target.qualname)) for target in targets
        }
        self._makers = {
            target.owner: target for target in targets if target.owner and _is_maker(target)
        }
        self.covered: set[Arc] = set()
        self._known_receivers: dict[str, list[str]] = {}
        self._seen: set[int] = set()
        self._produced: dict[str | bytes, None] = {}
        self._lines = {name: body_lines(one.node) for name, one in reading.routines.items()}

    def explore(self, until: float) -> None:
        """Search until the time (monotonic) or until nothing new turns up."""
        makers = [found for found in self.found.values() if _is_maker(found.target)]
        others = [found for found in self.found.values() if not _is_maker(found.target)]
        self._run([(found, self._first(found)) for found in makers], until)
        self._refresh()
        self._run([(found, self._first(found)) for found in others], until)
        self._refresh()
        while time.monotonic() < until:
            active = [found for found in self.found.values() if self._is_promising(found)]
            if not active:
                return
            # Most tries go where most lines are missing.
            weights = [1.0 + 2.0 * self._missing(found) for found in active]
            picked = self._chance.choices(active, weights, k=min(3 * self._parallel, len(active)))
            chosen = {_key(found.target): found for found in picked}
            self._run([(found, self._next(found, _BATCH)) for found in chosen.values()], until)

    def _refresh(self) -> None:
        """Offer as inputs the objects that can be made by now, and what came out of calls."""
        self._known_receivers.clear()
        for words in {id(found.words): found.words for found in self.found.values()}.values():
            for value in self._produced:
                known: list[Any] = words.blobs if isinstance(value, bytes) else words.strings
                if value not in known:
                    known.append(value)
        for target in self._subject.targets():
            found = self.found.get(_key(target))
            if found is not None:
                found.target.slots = target.slots

    def kept(self) -> list[Check]:
        """Every check so far, the first of each target before the second of any."""
        ranked = [
            (rank, at, check)
            for at, found in enumerate(self.found.values())
            for rank, check in enumerate(found.kept)
        ]
        return [check for _, _, check in sorted(ranked, key=lambda one: one[:2])]

    def more(
        self, keys: Sequence[str], count: int, until: float, *, only_near: bool = False
    ) -> list[Check]:
        """New cases around what is known of these targets: whatever differs in its outcome.

        With `only_near`, none that are not neighbours of a case that led somewhere.
        """
        batches = [
            (self.found[key], self._next(self.found[key], count, only_near=only_near))
            for key in keys
        ]
        return [check for check in self._came_of(batches, until) if not check.is_accident]

    def know(self, checks: Sequence[Check]) -> None:
        """Take checks for granted: what they do not reach is what is looked for."""
        self._numbers = max([self._numbers, *(check.number for check in checks)])
        self.covered |= {arc for check in checks for arc in check.arcs}

    def given(self, cases: dict[str, list[Case]], until: float) -> list[Check]:
        """Checks of cases that were made elsewhere, by the keys of their targets."""
        batches = [(self.found[key], some) for key, some in cases.items()]
        return self._came_of(batches, until)

    def _came_of(self, batches: list[tuple[Found, list[Case]]], until: float) -> list[Check]:
        before = self._numbers
        self._run(batches, until, lenient=True)
        kept = [check for found, _ in batches for check in found.kept]
        return [check for check in kept if check.number > before]

    def target_of(self, check: Check) -> Target | None:
        """What the check calls; None where that name stands for several things."""
        found = self._found_of(check)
        return found.target if found else None

    def plainest_receiver(self, target: Target) -> str:
        """The expression for an object of its class that is tried first; empty without one."""
        return next(iter(self._receivers(target) or []), "")

    def observed(
        self, wanted: Sequence[tuple[Check, Case]], until: float
    ) -> list[tuple[Check, Check]]:
        """Checks of cases that vary earlier checks, each with the earlier one."""
        by_target: dict[str, list[tuple[Check, Case]]] = {}
        for check, case in wanted:
            by_target.setdefault(check.target, []).append((check, case))
        pieces = [
            (found.target, pairs[start : start + _BATCH])
            for pairs in by_target.values()
            if (found := self._found_of(pairs[0][0]))
            for start in range(0, len(pairs), _BATCH)
        ]
        works = [
            partial(self._observe_all, target, [case for _, case in pairs])
            for target, pairs in pieces
        ]
        ends = run_forked(works, seconds=_BATCH_SECONDS, parallel=self._parallel, until=until)
        made: list[tuple[Check, Check]] = []
        for (_, pairs), end in zip(pieces, ends, strict=True):
            for (old, case), (seen, _) in zip(pairs, end.messages, strict=False):
                if "discarded" not in seen:
                    new = self.new_check(case, seen["lines"], seen["told"])
                    new.is_accident = seen["accident"]
                    made.append((old, new))
        return made

    def _found_of(self, check: Check) -> Found | None:
        found = [one for one in self.found.values() if one.target.qualname == check.target]
        return found[0] if len(found) == 1 else None

    def new_check(self, case: Case, lines: list[str], told: list[str]) -> Check:
        """A check that did not come from a case; its arcs come with its verification."""
        self._numbers += 1
        return Check(self._numbers, case, lines, told, frozenset())

    def _run(
        self, batches: list[tuple[Found, list[Case]]], until: float, *, lenient: bool = False
    ) -> None:
        # Something of each before more of any: there may not be time for all.
        most = max((len(cases) for _, cases in batches), default=0)
        pieces = [
            (found, cases[start : start + _BATCH])
            for start in range(0, most, _BATCH)
            for found, cases in batches
            if start < len(cases)
        ]
        while pieces and time.monotonic() < until:
            pieces = [piece for piece in pieces if not piece[0].is_hopeless]
            group, pieces = pieces[: 4 * self._parallel], pieces[4 * self._parallel :]
            works = [partial(self._observe_all, found.target, cases) for found, cases in group]
            ends = run_forked(works, seconds=_BATCH_SECONDS, parallel=self._parallel, until=until)
            for (found, cases), end in zip(group, ends, strict=True):
                gained = False
                for case, seen in zip(cases, end.messages, strict=False):
                    gained |= self._note(found, case, seen, lenient=lenient)
                if not end.complete and not end.late:
                    rest = cases[len(end.messages) + 1 :]
                    found.deaths += 1
                    found.discarded[_DEATH] = found.deaths
                    if rest and found.deaths < _MOST_DEATHS:
                        pieces.insert(0, (found, rest))
                found.fruitless = 0 if gained else found.fruitless + 1

    def _observe_all(self, target: Target, cases: list[Case], send: Send) -> None:
        late = 0
        for case in cases:
            started = time.thread_time()
            seen = self._observer.observe(script(case, target))
            send([seen, time.thread_time() - started])
            late += seen.get("discarded") == TOO_LONG
            if late == _MOST_LATE:
                break

    def _note(self, found: Found, case: Case, message: Any, *, lenient: bool) -> bool:
        seen, seconds = message
        if "discarded" in seen:
            reason = seen["discarded"]
            found.discarded[reason] = found.discarded.get(reason, 0) + 1
            return False
        arcs = frozenset((first, second) for first, second in seen["arcs"])
        told = seen["told"]
        is_new = not arcs <= self.covered
        exact = "\n".join(seen["lines"])
        behaviour = (arcs, told[0], tuple(told[1:]) if lenient or told[0] == "raises" else None)
        count = found.behaviours.get(behaviour, 0)
        if told[0] != "raises":
            self._learn(found.target, case, is_telling=is_new or count < 2)
        found.behaviours[behaviour] = count + 1
        if not is_new and count >= (_KEPT_A_BEHAVIOUR if not lenient else 2):
            return False
        most = _KEPT_A_TARGET * (2 if lenient else 1)
        if not is_new and (len(found.kept) >= most or exact in found.tried):
            return False
        self.covered |= arcs
        self._seen |= {line for arc in arcs for line in arc}
        found.tried.add(exact)
        self._numbers += 1
        check = Check(self._numbers, case, seen["lines"], told, arcs, seconds, seen["accident"])
        found.kept.append(check)
        if is_new or count == 0:
            found.seeds.append(case)
            self._produced |= dict.fromkeys(produced(seen["lines"]))
        return is_new

    def _learn(self, target: Target, case: Case, *, is_telling: bool) -> None:
        """Remember how an object was made; beyond the first few only if it is different."""
        if not _is_maker(target):
            return
        name = target.template.partition("(")[0]
        made = self._subject.made.setdefault(name, [])
        written = script(case, target)
        needs = set(written.setup) - set(target.pins)
        text = written.call
        most = _MADE if is_telling else _MADE // 3
        if text not in made and len(made) < most and not needs and len(text) < 120:
            made.append(text)

    def _missing(self, found: Found) -> int:
        """How many lines of a target no case has run yet."""
        return len(self._lines.get(found.target.qualname, set()) - self._seen)

    def _is_promising(self, found: Found) -> bool:
        most = _FRUITLESS * (4 if self._missing(found) else 1)
        if found.is_hopeless:
            return False
        return found.fruitless < most and bool(found.target.slots or found.target.owner)

    def _first(self, found: Found) -> list[Case]:
        target = found.target
        cases = [Case(target.qualname, whole=seed) for seed in target.seeds]
        required = [slot for slot in target.slots if slot.required]
        optional = [slot for slot in target.slots if not slot.required]
        receivers = self._receivers(target)
        if receivers is None:
            return cases
        most = max([len(slot.pool) for slot in required], default=1)
        for at in range(max(most, min(len(receivers), 6))):
            base = tuple(
                (slot.name, slot.pool[at % len(slot.pool)]) for slot in required if slot.pool
            )
            cases.append(Case(target.qualname, base, receivers[at % len(receivers)]))
        base = tuple((slot.name, slot.pool[0]) for slot in required if slot.pool)
        for slot in optional:
            for at, value in enumerate(slot.pool[:8]):
                given = (
                    (*self._sample(required), (slot.name, value))
                    if at % 2
                    else (*base, (slot.name, value))
                )
                cases.append(Case(target.qualname, given, receivers[at % len(receivers)]))
        cases = cases[:_FIRST_CASES]
        return [*cases, *self._next(found, _BATCH)]

    def _next(self, found: Found, count: int, *, only_near: bool = False) -> list[Case]:
        cases: list[Case] = []
        for _ in range(4 * count):
            if len(cases) == count:
                break
            if found.seeds and (only_near or self._chance.random() < 0.65):
                case = self._near(found)
            else:
                case = None if only_near else self._anywhere(found.target)
            if case is None:
                continue
            made = script(case, found.target)
            text = "\n".join((*made.setup, made.call))
            if text not in found.tried:
                found.tried.add(text)
                cases.append(case)
        return cases

    def _near(self, found: Found) -> Case | None:
        """A neighbour of a case that found something; the latest finds are tried most."""
        seeds = found.seeds
        case = seeds[-1 - min(int(self._chance.expovariate(0.3)), len(seeds) - 1)]
        target = found.target
        if case.whole:
            return varied_whole(case, found.words, self._chance)
        if target.owner and "{self}" in target.template:
            draw = self._chance.random()
            if draw < 0.25:
                return self._with_steps(case, target)
            if draw < 0.5:
                receivers = self._receivers(target) or [case.receiver]
                receiver = varied(case.receiver, found.words, receivers, self._chance)
                return replace(case, receiver=receiver)
        for _ in range(self._chance.choice((1, 1, 2))):
            slot = self._chance.choice(target.slots) if target.slots else None
            if slot is None or not slot.pool:
                return self._with_steps(case, target)
            given = dict(case.arguments)
            if slot.name not in given:
                case = case.with_argument(slot.name, self._chance.choice(slot.pool))
            elif not slot.required and self._chance.random() < 0.15:
                rest = tuple(pair for pair in case.arguments if pair[0] != slot.name)
                case = Case(case.target, rest, case.receiver, case.steps)
            else:
                value = varied(given[slot.name], found.words, slot.pool, self._chance)
                case = case.with_argument(slot.name, value)
        return case

    def _anywhere(self, target: Target) -> Case | None:
        receivers = self._receivers(target)
        if receivers is None:
            return None
        given = self._sample(target.slots)
        case = Case(target.qualname, given, self._receiver(target, receivers))
        has_past = target.state or (target.owner and "{self}" in target.template)
        if has_past and self._chance.random() < 0.5:
            return self._with_steps(case, target)
        return case

    def _with_steps(self, case: Case, target: Target) -> Case | None:
        """The same call after other calls on its object."""
        if target.state and target.owner is None:
            return self._with_earlier_calls(case, target)
        siblings = [
            found.target
            for found in self.found.values()
            if found.target.owner == target.owner
            and found.target.form != "with"
            and found.target.template.startswith("{self}.")
            and not found.target.is_private
        ]
        if not siblings:
            return None
        steps: list[str] = []
        for _ in range(self._chance.choice((1, 1, 2, 3))):
            sibling = self._chance.choice(siblings)
            given = self._sample(sibling.slots)
            step = script(Case(sibling.qualname, given, "None"), sibling)
            if len(step.setup) == 1 and not sibling.state:
                name = step.setup[0].partition(" = ")[0]
                steps.append(_renamed(step.call, name))
        return Case(case.target, case.arguments, case.receiver, tuple(steps))

    def _with_earlier_calls(self, case: Case, target: Target) -> Case:
        """The same call after others that change the same variables of the module."""
        siblings = [
            found.target
            for found in self.found.values()
            if found.target.owner is None
            and found.target.form == "value"
            and set(found.target.state) & set(target.state)
        ]
        steps: list[str] = []
        for _ in range(self._chance.choice((1, 1, 2))):
            sibling = self._chance.choice(siblings or [target])
            again = sibling is target and self._chance.random() < 0.5
            given = case.arguments if again else self._sample(sibling.slots)
            steps.append(script(Case(sibling.qualname, given), sibling).call)
        return replace(case, steps=tuple(steps))

    def _receiver(self, target: Target, known: list[str]) -> str:
        """One that was made before, or half of the time another, with arguments by chance."""
        maker = self._makers.get(target.owner or "")
        if maker is None or "{self}" not in target.template or self._chance.random() < 0.5:
            return self._chance.choice(known)
        made = script(Case(maker.qualname, self._sample(maker.slots)), maker)
        return self._chance.choice(known) if made.setup else made.call

    def _sample(self, slots: Sequence[Slot]) -> Arguments:
        given = []
        for slot in slots:
            if slot.pool and (slot.required or self._chance.random() < 0.4):
                at = min(
                    int(self._chance.expovariate(3 / (len(slot.pool) + 1))), len(slot.pool) - 1
                )
                given.append((slot.name, slot.pool[at]))
        return tuple(given)

    def _receivers(self, target: Target) -> list[str] | None:
        if target.owner is None or "{self}" not in target.template:
            return [""]
        if target.owner not in self._known_receivers:
            self._known_receivers[target.owner] = self._subject.receivers(target.owner)
        return self._known_receivers[target.owner] or None

    def verify(self, checks: list[Check], until: float) -> list[Check]:
        """Those that pass again elsewhere: other zone, other chance; with the arcs they take.

        Where there is no time for all of them before `until` (monotonic), the first ones.
        """
        pieces = [checks[start : start + _BATCH] for start in range(0, len(checks), _BATCH)]
        works = [
            partial(self._pass_all, piece, surroundings, at == 0)
            for piece in pieces
            for at, surroundings in enumerate(_ELSEWHERE)
        ]
        ends = run_forked(works, seconds=_BATCH_SECONDS, parallel=self._parallel, until=until)
        passed: list[Check] = []
        for piece, first, second in zip(pieces, ends[::2], ends[1::2], strict=True):
            for check, one, other in zip(piece, first.messages, second.messages, strict=False):
                ok, arcs, seconds = one
                if ok and other[0]:
                    check.arcs = frozenset((start, end) for start, end in arcs)
                    check.seconds = seconds
                    passed.append(check)
        return passed

    def _pass_all(
        self, checks: list[Check], surroundings: dict[str, str], traced: bool, send: Send
    ) -> None:
        os.environ.update(surroundings)
        time.tzset()
        for check in checks:
            tracer = Tracer(self._observer.filename)
            started = time.thread_time()
            with tracer if traced else nullcontext():
                ended = verdict(self._subject.module, check, _CHECK_SECONDS)
            ok = ended is Verdict.PASSED
            send([ok, sorted(tracer.arcs), time.thread_time() - started])


def _key(target: Target) -> str:
    return f"{target.qualname} {target.form} {target.template}"


def _is_maker(target: Target) -> bool:
    return (
        target.owner is not None
        and "{self}" not in target.template
        and target.template.partition("(")[0] == f"{MODULE}.{target.owner}"
    )


def _renamed(call: str, name: str) -> str:
    return "{self}" + call[len(name) :] if call.startswith(name) else call


def _words(subject: Subject, qualname: str) -> Words:
    routine = subject.reading.routines.get(qualname)
    return subject.words_for(routine) if routine else subject.reading.words
