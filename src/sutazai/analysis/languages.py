"""Languages that are told from a file's name, and that no analysis here reads."""

from pathlib import PurePosixPath

_BY_SUFFIX = {
    "JavaScript": ".js .mjs .cjs .jsx",
    "TypeScript": ".ts .tsx .mts .cts",
    "Java": ".java",
    "Kotlin": ".kt .kts",
    "Go": ".go",
    "Rust": ".rs",
    "C": ".c .h",
    "C++": ".cc .cpp .cxx .hh .hpp .hxx",
    "C#": ".cs",
    "Ruby": ".rb .rake",
    "PHP": ".php",
    "Perl": ".pl .pm",
    "Swift": ".swift",
    "Scala": ".scala",
    "Lua": ".lua",
    "R": ".r",
    "Dart": ".dart",
    "Elixir": ".ex .exs",
    "shell": ".sh .bash .zsh .ksh",
    "PowerShell": ".ps1 .psm1",
    "SQL": ".sql",
    "Vue": ".vue",
    "Svelte": ".svelte",
    "Jupyter Notebook": ".ipynb",
}
_LANGUAGES = {
    suffix: language for language, several in _BY_SUFFIX.items() for suffix in several.split()
}


def other_language(file: str) -> str | None:
    """The language of a file of code that is not analysed; None for Python and for no code."""
    return _LANGUAGES.get(PurePosixPath(file).suffix.lower())
