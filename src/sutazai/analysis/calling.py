"""What a repair may newly call: what the file calls already, and what is known to be harmless."""

import ast
import builtins
from collections import Counter
from collections.abc import Callable, Iterator, Mapping


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


_FUNCTIONS = words("""
    ast.literal_eval bisect.bisect bisect.bisect_left bisect.insort collections.Counter
    collections.OrderedDict collections.defaultdict collections.deque contextlib.closing
    copy.copy copy.deepcopy datetime.datetime.now decimal.Decimal
    defusedxml.ElementTree.fromstring defusedxml.ElementTree.parse flask.abort flask.jsonify
    flask.render_template hashlib.blake2b hashlib.pbkdf2_hmac hashlib.scrypt hashlib.sha256
    hashlib.sha384 hashlib.sha3_256 hashlib.sha3_512 hashlib.sha512 hmac.compare_digest hmac.new
    html.escape itertools.chain itertools.chain.from_iterable itertools.islice json.dumps json.loads
    logging.getLogger markupsafe.escape math.ceil math.floor math.isclose math.isfinite math.isnan
    os.environ.get os.fspath os.getenv os.path.abspath os.path.basename os.path.commonpath
    os.path.commonprefix os.path.exists os.path.isdir os.path.isfile os.path.join os.path.normpath
    os.path.realpath os.path.relpath os.path.splitext os.urandom pathlib.Path
    pathlib.PurePosixPath re.compile re.escape re.fullmatch re.match re.search secrets.choice
    secrets.compare_digest secrets.randbelow secrets.token_bytes secrets.token_hex
    secrets.token_urlsafe shlex.quote ssl.create_default_context subprocess.call
    subprocess.check_call subprocess.check_output subprocess.run tempfile.NamedTemporaryFile
    tempfile.TemporaryDirectory tempfile.mkdtemp tempfile.mkstemp time.monotonic
    time.perf_counter urllib.parse.quote urllib.parse.urlencode urllib.parse.urlparse
    urllib.parse.urlsplit uuid.uuid4 werkzeug.utils.secure_filename yaml.safe_dump yaml.safe_load
    yaml.safe_load_all
    """)
_BUILTINS = words("""
    abs all any bool bytearray bytes dict divmod enumerate filter float frozenset hash int
    isinstance issubclass iter len list max min next pow print range repr reversed round set sorted
    str sum super tuple zip
    """)
_METHODS = words("""
    add append appendleft as_posix capitalize casefold clear close commit copy count critical
    cursor debug difference discard encode endswith error exception execute executemany exists
    extend fetchall fetchmany fetchone find format get group groups hex hexdigest index info insert
    intersection is_absolute is_dir is_file is_relative_to isalnum isalpha isascii isdecimal isdigit
    isidentifier isnumeric isspace items join keys lower lstrip partition pop popleft relative_to
    remove removeprefix removesuffix resolve rollback rpartition rsplit rstrip setdefault sort split
    splitlines startswith strip title union update upper values warning with_name with_suffix
    """)
_REFUSALS = frozenset({"abort", "HTTPException", "Http404", "PermissionDenied", "Forbidden"})
_TEXTS = words(
    "execute executemany executescript raw text extra render_template_string Template Markup"
)
"""What runs or shows a text that it is given first."""
_PROGRAMS = words("run call check_call check_output Popen")
_FIRST = ("sql", "query", "statement", "operation", "source", "text", "template")

Fits = Callable[[ast.expr], bool]


def unknown_call(before: ast.Module, after: ast.Module) -> str | None:
    """A new call that may hide something; None where all are known, or were there before."""
    known = _Known(before)
    old = Counter(ast.unparse(call) for call in _calls(before))
    names = imported_names(after)
    constant = _bound_to(after, _is_text)
    programs = _bound_to(after, _is_program)
    for call in _calls(after):
        said = ast.unparse(call)
        if old[said] > 0:
            old[said] -= 1
            continue
        name = _dotted(call.func, names)
        if not known.allows(call.func, name):
            return f"a call of {ast.unparse(call.func)[:60]}, which is not known to be harmless"
        last = name.rpartition(".")[2]
        if last in _TEXTS and not _is_given(call, _is_text, constant):
            return f"a text for {last} that is not constant"
        if name.startswith("subprocess.") and last in _PROGRAMS:
            program = call.args[:1] or [one.value for one in call.keywords if one.arg == "args"]
            if not program or not (_is_program(program[0]) or _is_one_of(program[0], programs)):
                return "a program to run that is not constant"
        if (moved := known.moved(name, call)) is not None:
            return moved
    return None


def imported_names(tree: ast.Module) -> dict[str, str]:
    """By each name that imports make, what it stands for."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                root = one.name.split(".")[0]
                found[one.asname or root] = one.name if one.asname else root
        elif isinstance(node, ast.ImportFrom):
            above = "." * node.level + (node.module or "")
            found |= {one.asname or one.name: f"{above}.{one.name}" for one in node.names}
    return found


class _Known:
    """What a file calls, and which of its arguments are numbers wherever it does."""

    def __init__(self, tree: ast.Module) -> None:
        self._names = imported_names(tree)
        self._called: set[str] = set()
        self._methods: set[str] = set()
        numbers: dict[tuple[str, int], bool] = {}
        for call in _calls(tree):
            name = _dotted(call.func, self._names)
            self._called.add(name)
            if isinstance(call.func, ast.Attribute) and not self._is_imported(call.func):
                self._methods.add(call.func.attr)
            for at, given in enumerate(call.args):
                numbers[name, at] = numbers.get((name, at), True) and _is_number(given)
        self._numbers = {place for place, is_number in numbers.items() if is_number}

    def allows(self, function: ast.expr, name: str) -> bool:
        """Whether a new call of this may be believed to be what it looks like."""
        if name in self._called or name in _FUNCTIONS:
            return True
        last = name.rpartition(".")[2]
        if last in _REFUSALS or last.endswith(("Error", "Exception")):
            return True
        if isinstance(function, ast.Name):
            return name == function.id and (name in _BUILTINS or _is_exception(name))
        # A method of an object that is there, of which nothing but the name is known.
        own = isinstance(function, ast.Attribute) and not self._is_imported(function)
        return own and last in self._methods | _METHODS

    def moved(self, name: str, call: ast.Call) -> str | None:
        """What was a number wherever this is called, and is none now."""
        for at, given in enumerate(call.args):
            if (name, at) in self._numbers and not _is_number(given):
                return f"an argument of {name[:60]} that is no number any more"
        return None

    def _is_imported(self, function: ast.Attribute) -> bool:
        root: ast.expr = function
        while isinstance(root, ast.Attribute):
            root = root.value
        return isinstance(root, ast.Name) and root.id in self._names


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _dotted(function: ast.expr, names: Mapping[str, str]) -> str:
    """`os.path.join`, by what its first name stands for; what is no chain of names, as it reads."""
    parts: list[str] = []
    node = function
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ast.unparse(function)
    return ".".join([names.get(node.id, node.id), *reversed(parts)])


def _is_exception(name: str) -> bool:
    value = getattr(builtins, name, None)
    return isinstance(value, type) and issubclass(value, BaseException)


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def _is_program(node: ast.expr) -> bool:
    """A program that is named right here, with its arguments apart."""
    if isinstance(node, ast.List | ast.Tuple):
        return bool(node.elts) and _is_text(node.elts[0])
    return _is_text(node)


def _is_given(call: ast.Call, fits: Fits, names: frozenset[str]) -> bool:
    """Whether its first argument, and each that has a name, does."""
    given = [*call.args[:1], *(one.value for one in call.keywords if one.arg in _FIRST)]
    return bool(given) and all(fits(one) or _is_one_of(one, names) for one in given)


def _is_one_of(node: ast.expr, names: frozenset[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in names


def _bound_to(tree: ast.Module, fits: Fits) -> frozenset[str]:
    """The names that are given nothing but what fits, wherever they are given something."""
    good: set[str] = set()
    bad: set[str] = set()
    plain: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and fits(node.value):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    plain.add(id(target))
                    good.add(target.id)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            if id(node) not in plain:
                bad.add(node.id)
        elif isinstance(node, ast.arg):
            bad.add(node.arg)
    return frozenset(good - bad)
