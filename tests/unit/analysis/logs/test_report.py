"""A log's templates, bursts, novelties and company, by logs of which they are known."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sutazai.analysis.globs import InputError
from sutazai.analysis.logs.report import LogReport, LogRequest, analyse_logs
from sutazai.analysis.protocol import Place
from sutazai.analysis.quoting import quoted
from sutazai.analysis.reviewer import Reviewable

START = datetime(2026, 11, 25, 10, 0, tzinfo=UTC)
SECRET = "ghp_" + "a1B2" * 9


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S")


def report(log: str) -> LogReport:
    return analyse_logs(LogRequest(now=START.timestamp(), log=log))


def by_text(made: LogReport) -> dict[str, dict[str, Any]]:
    return {str(one["template"]): one for one in made.templates}


def shop_log() -> str:
    """Two hours: requests all the time, every tenth fails in two steps, and once all at once."""
    lines: list[tuple[float, str]] = []
    for number in range(1_200):
        second = number * 6.0
        request = f"request_id=req-{number:06d}"
        lines.append((second, f"INFO GET /orders/{number} took {number % 90}ms {request}"))
        if number % 10 == 0:
            lines.append((second + 1, f"WARNING pool exhausted {request}"))
            lines.append((second + 2, f"ERROR cannot reach 10.0.0.{number % 250}:5432 {request}"))
    lines += [(5_000 + number / 5, f"ERROR payment {number} declined") for number in range(200)]
    return "\n".join(f"{at(second)} {text}" for second, text in sorted(lines)) + "\n"


def test_entries_that_differ_in_values_alone_are_one_template() -> None:
    made = report(shop_log())
    assert {text: one["count"] for text, one in by_text(made).items()} == {
        "GET <PATH> took <NUM>ms request_id=req-<NUM>": 1_200,
        "pool exhausted request_id=req-<NUM>": 120,
        "cannot reach <IP> request_id=req-<NUM>": 120,
        "payment <NUM> declined": 200,
    }
    assert made.levels == {"info": 1_200, "warning": 120, "error": 320}
    assert (made.start, made.end) == ("2026-11-25T10:00:00.000Z", "2026-11-25T11:59:54.000Z")


def test_a_burst_is_told_with_its_time_and_what_is_usual() -> None:
    made = report(shop_log())
    [burst] = made.bursts
    payment = by_text(made)["payment <NUM> declined"]
    assert burst["template"] == payment["id"]
    assert burst["count"] == 200
    assert burst["usual"] == 0
    assert burst["start"] == "2026-11-25T11:23:00.000Z"


def test_what_is_new_is_told_with_its_first_line() -> None:
    made = report(shop_log())
    [new] = made.first_occurrences
    first = new["first"]
    assert isinstance(first, dict)
    assert first["text"] == shop_log().split("\n")[first["line"] - 1]
    assert "payment 0 declined" in first["text"]


def test_what_comes_together_is_told() -> None:
    made = report(shop_log())
    names = {one["id"]: text.split()[0] for text, one in by_text(made).items()}
    followers = {(names[one["first"]], names[one["then"]]) for one in made.followers}
    assert ("pool", "cannot") in followers
    [shared] = [one for one in made.shared_ids if one["ids"] == 120]
    numbers = shared["templates"]
    assert isinstance(numbers, list)
    assert [names[number] for number in numbers] == ["GET", "pool", "cannot"]


def test_a_silence_is_told() -> None:
    seconds = [*range(0, 300, 3), *range(3_000, 3_300, 3)]
    made = report("\n".join(f"{at(second)} INFO beat {second}" for second in seconds))
    [gap] = made.gaps
    assert (gap["start"], gap["end"]) == ("2026-11-25T10:04:57.000Z", "2026-11-25T10:50:00.000Z")


def test_exceptions_are_counted_by_type_and_frame() -> None:
    trace = 'Traceback (most recent call last):\n  File "a.py", line 4, in f\n    x\nKeyError: 1'
    made = report("\n".join(f"{at(second)} ERROR failed\n{trace}" for second in range(5)))
    [one] = made.exceptions
    assert (one["type"], one["frame"], one["count"]) == ("KeyError", "a.py:4 in f", 5)


def test_structured_logs_are_read() -> None:
    lines = [
        json.dumps({"time": at(second), "level": "error", "event": f"lost {second}", "host": "a"})
        for second in range(4)
    ]
    made = report("\n".join(lines))
    assert list(by_text(made)) == ["lost <NUM>"]
    assert made.levels == {"error": 4}


@pytest.mark.parametrize(
    "line",
    [
        f"token={SECRET}",
        f"Authorization: Bearer {'q7Zx' * 8}",
        "postgres://shop:k8-Quartz-Vellum-19@db/shop",
        "password = 'k8-Quartz-Vellum-19'",
    ],
)
def test_secrets_are_masked_in_whatever_is_quoted(line: str) -> None:
    made = report(f"{at(0)} ERROR {line}\n" * 3)
    for secret in (SECRET, "q7Zx" * 8, "k8-Quartz-Vellum-19"):
        assert secret not in str(made)
    assert "*" in quoted(line)


def test_large_files_are_read_in_pieces(tmp_path: Path) -> None:
    with (tmp_path / "app.log").open("w") as file:
        for number in range(20_000):
            file.write(f"{at(number)} INFO step {number} {'x' * 150}\n")
        file.write("y" * 20_000_000 + "\n")
        file.write(f"{at(20_001)} ERROR the end\n")
    (tmp_path / "binary.log").write_bytes(b"\x00\x01" * 100)
    (tmp_path / "notes.py").write_text("not a log\n")
    (tmp_path / "link.log").symlink_to("/etc/passwd")
    made = analyse_logs(
        LogRequest(now=START.timestamp(), what=Reviewable(place=Place(root=str(tmp_path))))
    )
    assert (made.files, made.levels["error"]) == (1, 1)
    assert made.lines == 20_002
    assert {one.file: one.reason for one in made.skipped} == {
        "/binary.log": "binary",
        "/link.log": "a symbolic link",
    }
    assert len(str(made)) < 100_000


@pytest.mark.parametrize(
    "log",
    [
        "a" * 5_000_000,
        ("[" * 3_000 + "\n") * 200,
        ("'" * 3_999 + "\n") * 200,
        ('"' + "a" * 3_990 + "\n") * 200,
        ("a." * 2_000 + "\n") * 200,
        ("/a" * 2_000 + "\n") * 200,
        ("1:" * 2_000 + "\n") * 200,
        ("a@" * 2_000 + "\n") * 200,
        ("Ab" * 2_000 + "\n") * 200,
        '{"a":' * 2_000 + "}" * 2_000,
        "\x00\x01\x02\n" * 1_000,
        "\ud800\udfff".encode("utf-8", "surrogatepass").decode("utf-8", "replace") * 100,
        "\n".join(" ".join(f"w{n}x{k}" for k in range(n % 40)) for n in range(5_000)),
    ],
    ids=["one line", "brackets", "quotes", "open quote", "dots", "paths", "colons", "ats", "words",
         "json", "controls", "unicode", "many forms"],
)  # fmt: skip
def test_hostile_logs_end(log: str) -> None:
    made = report(log)
    assert made.entries >= 1


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no log"):
        analyse_logs(LogRequest(now=0, what=Reviewable(place=Place(root=str(tmp_path)))))
    with pytest.raises(InputError, match="no log"):
        report(" \n \n")


def test_nothing_is_written_and_no_file_steers_the_mining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "drain3.ini").write_text("[DRAIN]\nsim_th = 0.0\n[SNAPSHOT]\ncompress_state = x\n")
    made = report("one two three\nfour five six\n")
    assert made.templates_total == 2
    assert [path.name for path in tmp_path.iterdir()] == ["drain3.ini"]
