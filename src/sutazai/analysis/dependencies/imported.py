"""What a project's Python files import from elsewhere: neither the language's own nor its own."""

import ast
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

import msgspec

from sutazai.analysis.parsing import Module, parent
from sutazai.analysis.source import looks_like_test

# Import names whose distribution is called otherwise; from each project's own documentation.
_DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "attr": ("attrs",),
    "bs4": ("beautifulsoup4",),
    "cairo": ("pycairo",),
    "Crypto": ("pycryptodome", "pycrypto"),
    "Cryptodome": ("pycryptodomex",),
    "cv2": (
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
    "dateutil": ("python-dateutil",),
    "dns": ("dnspython",),
    "docx": ("python-docx",),
    "dotenv": ("python-dotenv",),
    "email_validator": ("email-validator",),
    "faiss": ("faiss-cpu", "faiss-gpu"),
    "fitz": ("pymupdf",),
    "flask_cors": ("flask-cors",),
    "git": ("gitpython",),
    "github": ("pygithub",),
    "google.protobuf": ("protobuf",),
    "gi": ("pygobject",),
    "graphql": ("graphql-core",),
    "griffe": ("griffe", "griffelib"),
    "igraph": ("python-igraph", "igraph"),
    "jose": ("python-jose",),
    "jwt": ("pyjwt",),
    "kafka": ("kafka-python",),
    "ldap": ("python-ldap",),
    "ldap3": ("ldap3",),
    "magic": ("python-magic",),
    "memcache": ("python-memcached",),
    "multipart": ("python-multipart",),
    "MySQLdb": ("mysqlclient",),
    "OpenSSL": ("pyopenssl",),
    "PIL": ("pillow",),
    "pkg_resources": ("setuptools",),
    "pptx": ("python-pptx",),
    "psycopg2": ("psycopg2", "psycopg2-binary"),
    "pydantic_ai": ("pydantic-ai", "pydantic-ai-slim"),
    "pythoncom": ("pywin32",),
    "rest_framework": ("djangorestframework",),
    "ruamel": ("ruamel-yaml",),
    "sentry_sdk": ("sentry-sdk",),
    "serial": ("pyserial",),
    "skimage": ("scikit-image",),
    "sklearn": ("scikit-learn",),
    "slugify": ("python-slugify",),
    "socks": ("pysocks",),
    "strawberry": ("strawberry-graphql",),
    "telegram": ("python-telegram-bot",),
    "usb": ("pyusb",),
    "websocket": ("websocket-client",),
    "win32api": ("pywin32",),
    "win32con": ("pywin32",),
    "wx": ("wxpython",),
    "Xlib": ("python-xlib",),
    "yaml": ("pyyaml",),
    "zmq": ("pyzmq",),
}
_DOTTED = re.compile(r"([A-Za-z_]\w{1,60})(?:\.[A-Za-z_]\w{0,60}){0,9}")
# Folders that many distributions share: what is imported says which only at its second name.
_SHARED = {"google", "azure", "opentelemetry", "zope", "sphinxcontrib", "backports", "ruamel"}
_STANDARD = frozenset(sys.stdlib_module_names) | {"__future__", "__main__", "_typeshed"}


class Import(msgspec.Struct, frozen=True, kw_only=True):
    """One import of something that is neither the language's nor the project's own.

    `module` is its first name (the first two of a folder that distributions share). `optional`:
    the code does without it; `typing`: only a type checker reads it.
    """

    module: str
    file: str
    line: int
    column: int
    in_test: bool
    optional: bool
    typing: bool


def distributions_of(module: str) -> tuple[str, ...]:
    """The normalised names of the distributions that may bring a module, likeliest first."""
    top, _, rest = module.partition(".")
    usual = top.lower().replace("_", "-")
    if module in _DISTRIBUTIONS:
        return _DISTRIBUTIONS[module]
    known = _DISTRIBUTIONS.get(top, (usual,))
    if rest:
        joined = f"{usual}-{rest.lower().replace('_', '-')}"
        return (*known, joined, usual)
    return known


def brings(distribution: str, module: str) -> bool:
    """Whether a distribution's normalised name fits what is imported."""
    if distribution in distributions_of(module):
        return True
    # Who depends on one distribution of such a folder has those beside it, that it stands on.
    top, _, rest = module.partition(".")
    return bool(rest) and distribution.startswith(f"{top.lower()}-")


def own_modules(files: Iterable[str]) -> frozenset[str]:
    """First names under which a project's own files can be imported.

    Those are packages, modules that lie in none, and the folders at the top. Where in doubt a name
    counts as the project's own: that is better than to call it missing.
    """
    paths = [PurePosixPath(file.lstrip("/")) for file in files]
    packages = {path.parent for path in paths if path.stem == "__init__"}
    names: set[str] = set()
    for path in paths:
        top = path
        while top.parent in packages:
            top = top.parent
        names.add(top.name.split(".")[0])
        names.update(path.parts[:1] if len(path.parts) > 1 else ())
        if path.parts[:1] in (("src",), ("lib",), ("python",)):
            names.update(path.parts[1:2])
    return frozenset(names - {"src", "lib", "__init__", ""})


def foreign_imports(modules: Mapping[str, Module], own: frozenset[str]) -> list[Import]:
    """Every import of what comes from elsewhere, in the order of files and lines."""
    found: list[Import] = []
    for file in sorted(modules):
        found += _of_one(file, modules[file], own)
    return found


def _of_one(file: str, module: Module, own: frozenset[str]) -> Iterable[Import]:
    for node in module.of(ast.Import, ast.ImportFrom):
        for name in _names_of(node):
            parts = name.split(".")
            if parts[0] in _STANDARD or parts[0] in own:
                continue
            shared = parts[0] in _SHARED and len(parts) > 1
            yield Import(
                module=".".join(parts[:2]) if shared else parts[0],
                file=file,
                line=node.lineno,
                column=node.col_offset + 1,
                in_test=looks_like_test(file),
                optional=_is_guarded(node),
                typing=_is_for_typing(node),
            )


def _names_of(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom) or node.level or not node.module:
        return []
    if node.module in _SHARED:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return [node.module]


def named_modules(modules: Iterable[Module]) -> frozenset[str]:
    """First names of what strings in the code name, as `import_module("a.b")` does: `a`."""
    return frozenset(
        match[1]
        for module in modules
        for node in module.of(ast.Constant)
        if isinstance(node.value, str) and (match := _DOTTED.fullmatch(node.value))
    )


def _is_guarded(node: ast.AST) -> bool:
    """Whether an ImportError is caught around an import, or it is the way out of one."""
    child, above = node, parent(node)
    while above is not None:
        if isinstance(above, ast.Try):
            catches = any(
                handler.type is None
                or "Import" in ast.unparse(handler.type)
                or "ModuleNotFound" in ast.unparse(handler.type)
                or ast.unparse(handler.type) == "Exception"
                for handler in above.handlers
            )
            if catches and (child in above.body or child in above.handlers):
                return True
        child, above = above, parent(above)
    return False


def _is_for_typing(node: ast.AST) -> bool:
    above = parent(node)
    while above is not None:
        if isinstance(above, ast.If) and "TYPE_CHECKING" in ast.unparse(above.test):
            return True
        above = parent(above)
    return False
