"""Reading what a task names, decoded: what every function that runs in a worker begins with."""

import msgspec

from sutazai.analysis.globs import InputError
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.source import Source, SourceError, is_binary, looks_python, read_source
from sutazai.analysis.workspace import NotReadable, Skipped, Workspace, shown

_SKIPS_TOLD = 1_000


class Taken(msgspec.Struct, kw_only=True):
    """The files that could be read, in the order of names, and those that could not."""

    sources: list[Source]
    skipped: list[Skipped]
    skipped_total: int

    def leave(self, file: str, reason: str) -> None:
        """Note one more file that is left out."""
        self.skipped_total += 1
        if len(self.skipped) < _SKIPS_TOLD:
            self.skipped.append(Skipped(file=file, reason=reason))


def take(what: Reviewable) -> Taken:
    """Read all that `what` means; binary files, and those that are no text, are left out.

    Raises InputError where the files hold more together than the place allows.
    """
    taken = Taken(sources=[], skipped=[], skipped_total=0)
    for inline in what.inline:
        _add(taken, inline.name, inline.content, inline.language)
    if what.place is not None:
        most = what.place.limits.total_bytes
        workspace = Workspace(what.place.root, what.place.excluded, what.place.limits)
        selection = workspace.select(what.patterns)
        taken.skipped += selection.skipped
        taken.skipped_total += selection.skipped_total
        total = 0
        for parts in selection.files:
            try:
                content = workspace.read(parts)
            except NotReadable as error:
                taken.leave(shown(parts), str(error))
                continue
            total += len(content)
            if total > most:
                raise InputError(
                    f"The named files hold more than {most:,} bytes together. "
                    "Name fewer with `files`."
                )
            _add(taken, shown(parts), content)
    return taken


def _add(taken: Taken, file: str, content: bytes, language: str | None = None) -> None:
    if is_binary(content) and not looks_python(file, content):
        taken.leave(file, "binary")
        return
    try:
        taken.sources.append(read_source(file, content, language))
    except SourceError as error:
        taken.leave(file, f"line {error.line}: {error.reason}")
