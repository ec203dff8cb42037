"""What modules are made of: each kind of thing gets tests that say what it does."""

import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.features.generation.conftest import Generate

pytestmark = pytest.mark.anyio

CASES: dict[str, tuple[str, list[str]]] = {
    "async": (
        """
        import asyncio
        from collections.abc import AsyncIterator

        async def fetched(key: str) -> int:
            await asyncio.sleep(0)
            if not key:
                raise LookupError("no key")
            return len(key)

        async def ticks(count: int) -> AsyncIterator[int]:
            for number in range(count):
                yield number * 2
        """,
        ["asyncio.run(fetched(", "pytest.raises(LookupError", "asyncio.run(collect(ticks("],
    ),
    "generators and managers": (
        """
        from collections.abc import Iterator
        from contextlib import contextmanager

        OPEN: list[str] = []

        def countdown(start: int) -> Iterator[int]:
            while start > 0:
                yield start
                start -= 1

        def naturals() -> Iterator[int]:
            number = 0
            while True:
                yield number
                number += 1

        @contextmanager
        def opened(name: str) -> Iterator[str]:
            OPEN.append(name)
            try:
                yield name.upper()
            finally:
                OPEN.remove(name)
        """,
        ["list(countdown(", "itertools.islice(naturals(), 5)", "with opened("],
    ),
    "surroundings": (
        """
        import os
        import random
        import time
        from datetime import datetime

        def verbose() -> bool:
            value = os.environ.get("VERBOSE")
            if value is None:
                return False
            return value == "1"

        def dice(sides: int = 6) -> int:
            if sides < 1:
                raise ValueError("no sides")
            return random.randint(1, sides)

        def day() -> str:
            now = datetime.now()
            text = now.strftime("%Y-%m-%d")
            return text

        def age(since: float) -> float:
            now = time.time()
            return now - since
        """,
        [
            'monkeypatch.setenv("VERBOSE", "1")',
            "random.seed(",
            '== "2024-01-31"',
            'monkeypatch.setattr(time, "time"',
        ],
    ),
    "files and output": (
        """
        from pathlib import Path

        def lines(path: Path) -> int:
            if not path.exists():
                return -1
            text = path.read_text()
            count = 0
            for line in text.splitlines():
                if line:
                    count += 1
            return count

        def shout(text: str) -> None:
            loud = text.upper()
            print(loud)

        def saved(folder: Path, text: str) -> Path:
            target = folder / "note.txt"
            target.write_text(text)
            return target
        """,
        ["written(tmp_path", "capsys.readouterr().out ==", '"note.txt").read_text() =='],
    ),
    "streams": (
        """
        import sys

        try:
            from marshal import dumps as fast
        except ImportError:
            fast = None

        def number_lines(infile, outfile, start=1):
            count = start
            for line in infile:
                outfile.write(b"%d " % count + line)
                count += 1
            if count == start:
                raise EOFError("nothing to number")

        def first_word(readline):
            words = readline().split()
            if not words:
                return None
            return words[0]

        def packed(name: str) -> str:
            if fast is not None:
                return "fast " + name
            return "slow " + name

        def total():
            count = 0
            for line in sys.stdin.buffer:
                count += len(line)
            return count
        """,
        [
            "io.BytesIO(b",
            "outfile.getvalue() == b",
            "def test_number_lines_writes_to_outfile",
            "outfile = io.BytesIO()",
            ".readline)",
            'monkeypatch.setattr(inline, "fast", None)',
            'monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b',
        ],
    ),
    "named arguments": (
        """
        def tag(name: str, **attributes: str) -> str:
            parts = [name]
            for key in sorted(attributes):
                parts.append(key + "=" + attributes[key])
            return " ".join(parts)
        """,
        ["a="],
    ),
    "state and laws": (
        """
        SEEN: dict[str, int] = {}

        def seen(name: str) -> int:
            SEEN[name] = SEEN.get(name, 0) + 1
            return SEEN[name]

        def normalize(text: str) -> str:
            words = []
            for word in text.split():
                if word:
                    words.append(word.lower())
            return " ".join(words)

        def sort_down(items: list[int]) -> None:
            if len(items) > 1:
                items.sort()
                items.reverse()

        def flipencode(text: str) -> str:
            turned = [chr(ord(letter) ^ 1) for letter in text]
            return "".join(turned)

        def flipdecode(text: str) -> str:
            turned = [chr(ord(letter) ^ 1) for letter in text]
            return "".join(turned)
        """,
        [
            'monkeypatch.setattr(inline, "SEEN", {})',
            "inline.SEEN ==",
            "assert items == [",
            "assert flipdecode(flipencode(",
        ],
    ),
    "types": (
        """
        from dataclasses import dataclass
        from enum import Enum
        from typing import Literal, Protocol

        class Level(Enum):
            LOW = 1
            HIGH = 2

        @dataclass(frozen=True)
        class Alarm:
            level: Level
            text: str = ""

            def shown(self, mode: Literal["plain", "loud"] = "plain") -> str:
                if mode == "loud":
                    return self.text.upper()
                return f"{self.level.name}: {self.text}"

        class Source(Protocol):
            name: str

            def size(self) -> int: ...

        def biggest(sources: list[Source]) -> str | None:
            best: Source | None = None
            for source in sources:
                if best is None or source.size() > best.size():
                    best = source
            return best.name if best else None
        """,
        ["Alarm(Level.", 'mode="loud"', "types.SimpleNamespace(name="],
    ),
}


@pytest.mark.parametrize("kind", CASES)
async def test_each_kind_of_code_is_tested_as_a_person_would(generate: Generate, kind: str) -> None:
    code, expected = CASES[kind]
    result: dict[str, Any] = await generate(code=code)
    [file] = result["tests"]
    missing = [text for text in expected if text not in file["content"]]
    assert not missing, file["content"]
    assert result["coverage"]["line"] >= 0.9


async def test_types_that_do_not_fit_are_not_asserted_to_fail(generate: Generate) -> None:
    result = await generate(
        code="""
            def leap_days(first, last=2000):
                count = 0
                for year in range(first, last):
                    if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
                        count += 1
                return count

            class Span:
                def __init__(self, days: int) -> None:
                    self.days = days

                def __lt__(self, other):
                    if not isinstance(other, Span):
                        return NotImplemented
                    return self.days < other.days
        """
    )
    [file] = result["tests"]
    raising = [name for name in file["tests"] if "raises" in name]
    assert [name for name in raising if not name.startswith("test_span_less_than")] == []
    assert "test_leap_days_returns" in file["content"]


async def test_chance_that_cannot_be_held_still_is_not_asserted(generate: Generate) -> None:
    result = await generate(
        code="""
            import os
            import uuid

            def token() -> str:
                return os.urandom(4).hex()

            def named(name: str) -> str:
                return f"{name}-{uuid.uuid4()}"

            def plain(name: str) -> str:
                return f"<{name}>"
        """
    )
    [file] = result["tests"]
    assert file["tests"]
    assert all(name.startswith("test_plain_") for name in file["tests"])
    reasons = {item["function"]: item["reason"] for item in result["untested"]}
    assert "cryptographic randomness" in reasons["token"]
    assert "by chance" in reasons["named"]


async def test_a_package_with_relative_imports_is_tested_where_it_lies(
    generate: Generate, workspace: Path
) -> None:
    package = workspace / "src" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "money.py").write_text(
        "class Money:\n    def __init__(self, cents: int) -> None:\n        self.cents = cents\n"
    )
    (package / "till.py").write_text(
        "from .money import Money\n\n\ndef double(money: Money) -> Money:\n"
        "    return Money(money.cents * 2)\n"
    )
    (workspace / "usage.py").write_text("from shop.till import double\n\nSTART = 4711\n")
    result = await generate(files=["src/shop/till.py"])
    [file] = result["tests"]
    assert (file["module"], file["import_root"]) == ("shop.till", "/src")
    assert "from shop.till import" in file["content"]
    assert "result.cents == " in file["content"]
    assert result["coverage"]["line"] == 1.0


async def test_code_that_c_replaces_and_a_name_of_the_standard_library_work(
    generate: Generate,
) -> None:
    result = await generate(
        file="bisect.py",
        code="""
            def bisect_left(a, x):
                lo, hi = 0, len(a)
                while lo < hi:
                    mid = (lo + hi) // 2
                    if a[mid] < x:
                        lo = mid + 1
                    else:
                        hi = mid
                return lo

            try:
                from _bisect import *
            except ImportError:
                pass
        """,
    )
    [file] = result["tests"]
    assert 'sys.modules.pop("bisect", None)' in file["content"]
    assert 'sys.modules["_bisect"] = None' in file["content"]
    assert result["coverage"]["line"] >= 0.8
    assert result["mutation"]["score"] >= 0.5


async def test_what_the_limit_leaves_out_is_told(generate: Generate) -> None:
    functions = "".join(f"def f{n}(x: int) -> int:\n    return x * {n}\n" for n in range(3, 9))
    result = await generate(code=functions)
    assert len(result["tests"][0]["tests"]) == 3
    assert len(result["untested"]) == 3
    assert all("at most 25 tests" in item["reason"] for item in result["untested"])


async def test_a_folder_gives_a_file_for_each_module_and_says_what_it_left(
    generate: Generate, workspace: Path
) -> None:
    (workspace / "one.py").write_text("def one(number: int) -> int:\n    return number + 1\n")
    (workspace / "two.py").write_text("def two(text: str) -> str:\n    return text * 2\n")
    (workspace / "test_one.py").write_text("def test_nothing():\n    pass\n")
    (workspace / "notes.txt").write_text("nothing to test\n")
    result = await generate()
    assert [file["module"] for file in result["tests"]] == ["one", "two"]
    reasons = {item["file"]: item["reason"] for item in result["skipped"]}
    assert reasons == {"/test_one.py": "it is test code", "/notes.txt": "not Python"}
    assert result["metrics"]["files_analyzed"] == 2


async def test_what_only_a_dropped_test_reached_is_told(generate: Generate) -> None:
    code = """
        class Account:
            def __init__(self, name: str, cents: int) -> None:
                self.name = name
                self.cents = cents

        ACCOUNTS = [Account("rent", 500), Account("food", 70)]

        def find(name: str) -> Account | None:
            for account in ACCOUNTS:
                if account.name == name:
                    return account
            return None

        def cents_of(name: str) -> int:
            return find(name).cents

        def pay(source: str, target: str, cents: int) -> int:
            if cents <= 0:
                raise ValueError("nothing to pay")
            left = cents_of(source) - cents
            gained = cents_of(target) + cents
            find(source).cents = left
            find(target).cents = gained
            return left
        """
    result = await generate(code=textwrap.dedent(code))
    coverage = result["coverage"]
    told = {line for item in result["untested"] for line in item["lines"]}
    assert len(told) == coverage["statements"] - coverage["covered_statements"]
    assert all(item["reason"] for item in result["untested"])
    # The names are in the table that the module is made with, and nowhere else.
    assert 'cents_of("' in result["tests"][0]["content"]


async def test_only_what_was_asked_for_is_told_as_untested(generate: Generate) -> None:
    code = (
        "def asked(x: int) -> int:\n    return x + 1\n\ndef other(x: int) -> int:\n    return x\n"
    )
    result = await generate(code=code, functions=["asked"])
    assert [item["function"] for item in result["untested"]] == []
