"""What makes a routine different from run to run, and how a test holds it still."""

import ast
import re
from dataclasses import dataclass, field
from itertools import pairwise

from sutazai.analysis.generation.inside.cases import HELPERS, STDIN_BYTES, STDIN_TEXT, Slot
from sutazai.analysis.generation.inside.reading import Reading, Words, dotted
from sutazai.analysis.generation.inside.values import MODULE

HELPERS["FrozenDate"] = (
    "class FrozenDate(datetime.date):\n"
    "    @classmethod\n"
    "    def today(cls):\n"
    "        return cls(2024, 1, 31)\n"
)
HELPERS["FrozenDateTime"] = (
    "class FrozenDateTime(datetime.datetime):\n"
    "    @classmethod\n"
    "    def now(cls, tz=None):\n"
    "        return cls(2024, 1, 31, 12, 30, 15, tzinfo=tz)\n"
    "\n"
    "    @classmethod\n"
    "    def utcnow(cls):\n"
    "        return cls(2024, 1, 31, 12, 30, 15)\n"
    "\n"
    "    @classmethod\n"
    "    def today(cls):\n"
    "        return cls(2024, 1, 31, 12, 30, 15)\n"
)
_CLOCKS = {
    "time": "lambda: 1_700_000_000.0",
    "time_ns": "lambda: 1_700_000_000_000_000_000",
    "monotonic": "lambda: 100.0",
    "monotonic_ns": "lambda: 100_000_000_000",
    "perf_counter": "lambda: 100.0",
    "perf_counter_ns": "lambda: 100_000_000_000",
    "process_time": "lambda: 10.0",
    "sleep": "lambda seconds: None",
}
_UNPINNED = {
    "uuid.uuid1": "makes an identifier by chance",
    "uuid.uuid4": "makes an identifier by chance",
    "secrets": "takes cryptographic randomness",
    "os.urandom": "takes cryptographic randomness",
    "random.SystemRandom": "takes cryptographic randomness",
    "socket": "uses the network",
    "urllib.request": "uses the network",
    "http.client": "uses the network",
    "subprocess": "starts other programs",
    "os.system": "starts other programs",
    "os.fork": "starts other processes",
    "multiprocessing": "starts other processes",
    "os.getpid": "depends on the process",
    "platform": "depends on the machine",
    "os.uname": "depends on the machine",
}


@dataclass
class Pins:
    """Statements that fix what can be fixed, inputs from the surroundings, and what stays open."""

    statements: tuple[str, ...] = ()
    slots: list[Slot] = field(default_factory=list)
    reasons: tuple[str, ...] = ()


class PinFinder:
    """Looks into routines of one module; each is looked into once."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._origins = _imported(reading.tree)
        self._known: dict[str, Pins] = {}
        self._own: dict[str, Pins] = {}

    def of(self, qualname: str) -> Pins:
        """What a routine and those that it calls need."""
        if qualname not in self._known:
            statements: dict[str, None] = {}
            slots: dict[str, Slot] = {}
            reasons: dict[str, None] = {}
            for reached in sorted(self._reading.reaches(qualname)):
                own = self._look(reached)
                statements |= dict.fromkeys(own.statements)
                slots |= {slot.name: slot for slot in own.slots}
                for name in sorted(self._reading.routines[reached].calls):
                    if fallback := self._reading.optional.get(name):
                        slots[f"$without:{name}"] = Slot(
                            f"$without:{name}", [fallback], required=False
                        )
                reasons |= dict.fromkeys(own.reasons)
            if STDIN_BYTES in slots:
                slots.pop(STDIN_TEXT, None)
            self._known[qualname] = Pins(tuple(statements), list(slots.values()), tuple(reasons))
        return self._known[qualname]

    def _look(self, qualname: str) -> Pins:
        """What the routine itself needs."""
        if qualname not in self._own:
            statements: dict[str, None] = {}
            slots: list[Slot] = []
            reasons: dict[str, None] = {}
            for node in ast.walk(self._reading.routines[qualname].node):
                if isinstance(node, ast.Attribute | ast.Name):
                    written = dotted(node)
                    name = _full(written, self._origins)
                    if pin := _pin(name, written):
                        statements[pin] = None
                    for known, reason in _UNPINNED.items():
                        if name == known or name.startswith(f"{known}."):
                            reasons[reason] = None
                if slot := _surroundings(node, self._origins):
                    slots.append(slot)
                    if slot.name == "$argv":
                        slot.pool += _command_lines(self._reading.routines[qualname].words)
            self._own[qualname] = Pins(tuple(statements), slots, tuple(reasons))
        return self._own[qualname]


def _imported(tree: ast.Module) -> dict[str, str]:
    origins: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                origins[name.asname or name.name.partition(".")[0]] = (
                    name.name if name.asname else name.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for name in node.names:
                origins[name.asname or name.name] = f"{node.module}.{name.name}"
    return origins


def _full(written: str, origins: dict[str, str]) -> str:
    head, _, rest = written.partition(".")
    if head not in origins:
        return ""
    return f"{origins[head]}.{rest}" if rest else origins[head]


def _pin(name: str, written: str) -> str | None:
    home, _, last = name.partition(".")
    if home == "random" and last and last not in ("Random", "SystemRandom"):
        return "random.seed(7)"
    if home == "time" and last in _CLOCKS:
        if "." in written:
            return f"monkeypatch.setattr(time, {last!r}, {_CLOCKS[last]})"
        return f"monkeypatch.setattr({MODULE}, {written!r}, {_CLOCKS[last]})"
    for kind, calls, frozen in (
        ("datetime", ("now", "utcnow", "today"), "FrozenDateTime"),
        ("date", ("today",), "FrozenDate"),
    ):
        if name in [f"datetime.{kind}.{call}" for call in calls]:
            holder = written.rpartition(".")[0]
            if "." in holder:
                return f"monkeypatch.setattr(datetime, {kind!r}, {frozen})"
            return f"monkeypatch.setattr({MODULE}, {holder!r}, {frozen})"
    if name in ("os.getcwd", "pathlib.Path.cwd"):
        return "monkeypatch.chdir(tmp_path)"
    return None


def _command_lines(words: Words) -> list[str]:
    """With the options that the code names, with files and without."""
    options = [word for word in words.strings if re.fullmatch("--?[a-zA-Z][-a-zA-Z0-9]*", word)]
    file = 'str(written(tmp_path / "input.txt", "one\\ntwo\\n"))'
    found = [f"['program', {file}]", "['program', str(tmp_path / 'missing.txt')]"]
    for option in options[:6]:
        found += [f"['program', {option!r}]", f"['program', {option!r}, {file}]"]
    found += [f"['program', {one!r}, {other!r}]" for one, other in pairwise(options)]
    return found


def _surroundings(node: ast.AST, origins: dict[str, str]) -> Slot | None:
    """A slot for an environment variable, `input()` or the command line that is read here."""
    variable: ast.AST | None = None
    if isinstance(node, ast.Call):
        name = _full(dotted(node.func), origins)
        if name in ("os.getenv", "os.environ.get", "os.environ.pop") and node.args:
            variable = node.args[0]
        elif dotted(node.func) == "input":
            return Slot("$input", ["'abc'", "'1'", "''", "'y'", "'n'"], required=True)
    elif isinstance(node, ast.Subscript) and _full(dotted(node.value), origins) == "os.environ":
        variable = node.slice
    elif isinstance(node, ast.Attribute):
        name = _full(dotted(node), origins)
        if name == "sys.argv":
            return Slot("$argv", ["['program']", "['program', 'abc']", "['program', '1', '2']"])
        if name == "sys.stdin":
            return Slot(STDIN_TEXT, ["io.StringIO('one\\ntwo\\n')", "io.StringIO()"])
        if name == "sys.stdin.buffer":
            given = ("b'one\\ntwo\\n'", "b''")
            return Slot(STDIN_BYTES, [f"io.TextIOWrapper(io.BytesIO({one}))" for one in given])
    if isinstance(variable, ast.Constant) and isinstance(variable.value, str):
        pool = ["'abc'", "'1'", "''", "'true'", "'0'", "'/tmp'"]
        return Slot(f"$env:{variable.value}", pool, required=False)
    return None
