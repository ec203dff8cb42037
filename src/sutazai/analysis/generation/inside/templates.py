"""How methods with names that Python itself calls are called by people."""

_COMPARED = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_COMPUTED = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>", "matmul": "@",
}  # fmt: skip
_CALLED = {
    "len": "len", "str": "str", "repr": "repr", "bool": "bool", "int": "int", "float": "float",
    "abs": "abs", "next": "next", "bytes": "bytes", "complex": "complex", "hash": "hash",
    "round": "round", "index": "operator.index", "copy": "copy.copy", "dir": "dir",
    "deepcopy": "copy.deepcopy", "floor": "math.floor", "ceil": "math.ceil", "trunc": "math.trunc",
    "iter": "list", "sizeof": "sys.getsizeof", "fspath": "os.fspath",
}  # fmt: skip
_SPECIAL = {
    "__contains__": "{0} in {self}",
    "__getitem__": "{self}[{0}]",
    "__missing__": "{self}[{0}]",
    "__call__": "{self}({args})",
    "__neg__": "-{self}",
    "__pos__": "+{self}",
    "__invert__": "~{self}",
    "__reversed__": "list(reversed({self}))",
    "__format__": "format({self}, {0})",
    "__divmod__": "divmod({self}, {0})",
    "__hash__": "hash({self}) == hash({0})",
    "__reduce__": "pickle.loads(pickle.dumps({self}))",
    "__getstate__": "pickle.loads(pickle.dumps({self}))",
    "__setstate__": "pickle.loads(pickle.dumps({self}))",
    "__enter__": "{self}",
    "__exit__": "{self}",
    "__aenter__": "{self}",
    "__aexit__": "{self}",
    "__aiter__": "asyncio.run(collect({self}))",
    "__getattr__": "getattr({self}, {0})",
    "__getattribute__": "getattr({self}, {0})",
}
_STATEMENTS = {
    "__setitem__": "{self}[{0}] = {1}",
    "__delitem__": "del {self}[{0}]",
    "__setattr__": "setattr({self}, {0}, {1})",
}

CONSTRUCTING = {"__init__", "__new__", "__post_init__"}
UNCALLABLE = {"__init_subclass__", "__del__", "__set_name__", "__subclasshook__", "__prepare__",
              "__instancecheck__", "__subclasscheck__", "__class_getitem__", "__await__",
              "__anext__", "__get__", "__set__", "__delete__"}  # fmt: skip


def template_of(name: str) -> tuple[str, str]:
    """The template for a dunder method and the form of the case; empty where there is none."""
    if name in _STATEMENTS:
        return _STATEMENTS[name], "statement"
    if name in ("__enter__", "__exit__"):
        return _SPECIAL[name], "with"
    if name in _SPECIAL:
        return _SPECIAL[name], "value"
    plain = name.strip("_")
    if plain in _COMPARED:
        return f"{{self}} {_COMPARED[plain]} {{0}}", "value"
    if plain in _COMPUTED:
        return f"{{self}} {_COMPUTED[plain]} {{0}}", "value"
    if plain.startswith("r") and plain[1:] in _COMPUTED:
        return f"{{0}} {_COMPUTED[plain[1:]]} {{self}}", "value"
    if plain.startswith("i") and plain[1:] in _COMPUTED:
        return f"{{self}} {_COMPUTED[plain[1:]]}= {{0}}", "statement"
    if plain in _CALLED:
        return f"{_CALLED[plain]}({{self}})", "value"
    return "", ""


def takes_its_own(name: str) -> bool:
    """Whether the other operand is above all an object of the same class."""
    plain = name.strip("_")
    return plain in _COMPARED or plain in _COMPUTED or plain[1:] in _COMPUTED or plain == "hash"
