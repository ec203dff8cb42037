"""`sutazai agent check`: whether somebody's agent behaves, and what to do where it does not.

The agent is given a server of its own, in a folder that is gone afterwards, with short leases, and
between the two a witness that sees every request and makes trouble. Tasks go to that server as
users would submit them.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import typer
from sutazai_client import FINAL, SutazAIError

from sutazai.cli.agent_stage import LEASE_SECONDS, Fault, Skipped, Stage, Wish, set_stage
from sutazai.cli.agent_witness import Trouble
from sutazai.cli.failures import ANSWER_IS_NO
from sutazai.cli.output import Format, out, print_json, printable
from sutazai.telemetry.logs import configure_logging

_PROMPT = 5.0


class Verdict(NamedTuple):
    """What came of one check; `passed` is None where it could not be made."""

    name: str
    passed: bool | None
    remark: str


def check(wish: Wish, output: Format) -> None:
    """Print the verdicts; exit code 1 where one is no."""
    configure_logging("CRITICAL")
    verdicts = []
    with set_stage(wish) as stage:
        for name, test in _CHECKS:
            verdict = _judge(name, test, stage)
            verdicts.append(verdict)
            if output is Format.TABLE:
                _show(verdict)
            if verdict.passed is False and test is _comes_online:
                break
    failed = sum(one.passed is False for one in verdicts)
    if output is Format.JSON:
        print_json({"behaves": not failed, "checks": [one._asdict() for one in verdicts]})
    else:
        told = "behaves" if not failed else f"has {failed} fault{'s' if failed > 1 else ''}"
        out().print(f"\nThe agent {told}.", style="bold green" if not failed else "bold red")
    if failed:
        raise typer.Exit(ANSWER_IS_NO)


# --- the checks, in order


def _comes_online(stage: Stage) -> str:
    def is_online() -> bool:
        return bool(stage.client.get_agent(stage.wish.agent_id)["status"] != "offline")

    if not stage.until(is_online, stage.wish.patience):
        if stage.wish.redis_url is not None:
            raise Fault(
                f"Nobody listens on agent:{stage.wish.agent_id}. Subscribe to it on REDIS_URL."
            )
        raise Fault(
            "No heartbeat and no claim came with the agent's key. Send POST "
            "/agents/{id}/claim?wait=20 to SUTAZAI_URL with the header X-API-Key."
        )
    return ""


def _claims_in_time(stage: Stage) -> str:
    # A message is sent whether or not the agent takes it up.
    stage.needs_http()
    begun = time.monotonic()
    task_id = stage.submit(stage.wish.good)
    if not stage.begun(task_id, _PROMPT):
        stage.client.cancel_task(task_id)
        raise Fault(
            f"A task was not taken within {_PROMPT:g} s. Claim with ?wait=20, and again as soon as "
            "the answer is there."
        )
    took = time.monotonic() - begun
    stage.ended(task_id)
    return f"{took * 1000:.0f} ms"


def _finishes(stage: Stage) -> str:
    stage.does_good_work()
    return ""


def _reports_bad_input(stage: Stage) -> str:
    if stage.wish.bad is None:
        raise Skipped("needs --bad: input that the agent cannot do")
    task = stage.ended(stage.submit(stage.wish.bad))
    if task["status"] != "failed":
        raise Fault(
            f"The task with bad input ended as {task['status']}. Report it with POST "
            "/assignments/{id}/fail."
        )
    if task["attempt"] > 1:
        raise Fault(
            "Bad input was tried again. Only a failure that another try can mend is `retryable`."
        )
    if task["error"]["code"] == "INTERNAL_ERROR":
        raise Fault(
            "Bad input was reported as INTERNAL_ERROR, as if the agent were broken. Give the error "
            "the code VALIDATION_ERROR and a message that says what is wrong with the input."
        )
    return printable(task["error"]["message"])[:80]


def _keeps_its_lease(stage: Stage) -> str:
    task = stage.ended(stage.slow())
    if task["attempt"] > 1:
        raise Fault(
            f"A task that took longer than its lease ({LEASE_SECONDS} s here) was given out again. "
            "While working, renew it: POST /agents/{id}/heartbeat at a third of `lease_seconds`."
        )
    if task["status"] != "completed":
        raise Fault(f"The slow task ended as {task['status']}: {task.get('error')}")
    return ""


def _honours_cancel(stage: Stage) -> str:
    task_id = stage.slow()
    stage.client.cancel_task(task_id)
    begun = time.monotonic()
    after = stage.submit(stage.wish.good)
    if stage.wish.capacity == 1 and not _goes_on(stage, after, LEASE_SECONDS + 1):
        stage.client.cancel_task(after)
        how = "what a heartbeat's answer lists as `cancelled`, and what a report gets 409 for"
        if stage.wish.redis_url is not None:
            how = "what an event with the action `cancel` names as its correlation_id"
        raise Fault(
            f"The agent still worked {LEASE_SECONDS + 1} s after its task was cancelled. "
            f"Stop {how}."
        )
    took = time.monotonic() - begun
    stage.ended(after)
    return f"stopped within {took:.1f} s"


def _goes_on(stage: Stage, task_id: str, seconds: float) -> bool:
    """Whether the agent gets to its next task in time; over Redis only the end shows that."""
    if stage.wish.redis_url is None:
        return stage.begun(task_id, seconds)
    return stage.until(lambda: stage.task(task_id)["status"] in FINAL, seconds)


def _survives_a_lost_answer(stage: Stage) -> str:
    stage.needs_http()
    with stage.witness.making(Trouble.LOSE_END):
        stage.ended(stage.submit(stage.wish.good))
    stage.does_good_work()
    return ""


def _survives_an_absent_server(stage: Stage) -> str:
    stage.needs_http()
    with stage.witness.making(Trouble.AWAY):
        stage.until(lambda: False, LEASE_SECONDS)
    stage.does_good_work()
    return ""


def _survives_a_lost_lease(stage: Stage) -> str:
    stage.needs_http()
    task_id = stage.slow()
    with stage.witness.making(Trouble.DEAF):
        lost = stage.until(lambda: stage.task(task_id)["attempt"] > 1, 4 * LEASE_SECONDS)
        taken_back = lost or stage.task(task_id)["status"] != "processing"
    if not taken_back:
        # Its only place is taken by what it has lost: it must have noticed by now.
        stage.until(lambda: stage.task(task_id)["status"] in FINAL, stage.wish.patience)
    task = stage.ended(task_id)
    if task["status"] != "completed":
        raise Fault(f"A task whose lease was lost for once ended as {task['status']}.")
    stage.does_good_work()
    return f"attempt {task['attempt']} completed it"


def _answers_once(stage: Stage) -> str:
    stage.needs_http()
    ends: dict[str, list[int]] = {}
    for one in stage.witness.seen():
        report = one.report
        if report is not None and report[1] in ("complete", "fail"):
            ends.setdefault(report[0], []).append(one.status)
    # One repetition was asked for: the answer that was lost on purpose. 409 is an answer, too.
    answered = [sum(status in (200, 409) for status in answers) for answers in ends.values()]
    repeated = sum(times - 1 for times in answered if times)
    if repeated > 1:
        raise Fault(
            f"{repeated} ends were reported again although the server had answered. Report an end "
            "once; repeat it only while no answer comes."
        )
    late = sum(409 in answers for answers in ends.values())
    return f"{len(ends)} ends" + (f", {late} of them too late" if late else "")


def _stays_online(stage: Stage) -> str:
    gone = [
        event
        for event in stage.client.iter_events()
        if event["event_type"] == "agent.offline"
        and event["data"]["agent_id"] == stage.wish.agent_id
    ]
    if gone:
        how = "Send a heartbeat every 5 s."
        if stage.wish.redis_url is not None:
            how = "Go on listening while you work, and subscribe again after a gap."
        raise Fault(f"It was offline {len(gone)} times: silent for over 15 s. {how}")
    return ""


def _stops_in_good_order(stage: Stage) -> str:
    if stage.program is None:
        raise Skipped("needs the agent's command, to stop it")
    task_id = None
    with suppress(Skipped):
        task_id = stage.slow()
    code = stage.program.ask_to_stop(stage.wish.patience)
    if code is None:
        raise Fault("It did not end after SIGTERM. Stop claiming, then end.")
    if task_id is not None:
        # Over Redis its last word may be under way still; its lease does not lapse as soon as this.
        end = time.monotonic() + (0 if stage.wish.redis_url is None else LEASE_SECONDS / 2)
        while _has_it_in_hand(stage, task_id):
            if time.monotonic() < end:
                time.sleep(0.05)
                continue
            how = "POST /assignments/{id}/release"
            if stage.wish.redis_url is not None:
                how = "a response whose `status` is `released`"
            raise Fault(
                f"It ended with a task in hand. Give it back with {how}: else others wait for the "
                "lease to lapse."
            )
    return f"exit code {code}"


def _has_it_in_hand(stage: Stage, task_id: str) -> bool:
    agent = stage.client.get_agent(stage.wish.agent_id)
    return bool(agent["current_load"]) and stage.task(task_id)["status"] not in FINAL


_Check = Callable[[Stage], str]
_CHECKS: tuple[tuple[str, _Check], ...] = (
    ("comes online", _comes_online),
    ("takes a task in time", _claims_in_time),
    ("finishes it", _finishes),
    ("reports bad input as such", _reports_bad_input),
    ("keeps its lease while it works", _keeps_its_lease),
    ("stops when cancelled", _honours_cancel),
    ("survives a lost answer", _survives_a_lost_answer),
    ("survives a server that is away", _survives_an_absent_server),
    ("survives a lost lease", _survives_a_lost_lease),
    ("answers once", _answers_once),
    ("stays online", _stays_online),
    ("stops in good order", _stops_in_good_order),
)


def _judge(name: str, test: _Check, stage: Stage) -> Verdict:
    try:
        return Verdict(name, True, test(stage))
    except Fault as error:
        return Verdict(name, False, str(error))
    except Skipped as error:
        return Verdict(name, None, str(error))
    except SutazAIError as error:
        return Verdict(name, False, f"The server refused what the check asked: {error}")


def _show(verdict: Verdict) -> None:
    from rich.text import Text

    mark, style = {True: ("ok", "green"), False: ("FAULT", "bold red"), None: ("-", "dim")}[
        verdict.passed
    ]
    line = Text.assemble((f"{mark:<6}", style), f"{verdict.name:<32}")
    line.append(printable(verdict.remark), "" if verdict.passed is False else "dim")
    out().print(line, soft_wrap=True)
