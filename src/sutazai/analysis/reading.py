"""Reading what a task names, decoded: what every function that runs in a worker begins with."""

from collections.abc import Iterator

import msgspec

from sutazai.analysis.globs import InputError
from sutazai.analysis.reviewer import Reviewable
from sutazai.analysis.source import Source, SourceError, is_binary, looks_python, read_source
from sutazai.analysis.workspace import NotReadable, Skipped, Workspace, shown

_SKIPS_TOLD = 1_000


class Taken(msgspec.Struct, kw_only=True):
    """The files that could be read, in the order of names, and those that could not."""

    sources: list[Source] = []
    skipped: list[Skipped] = []
    skipped_total: int = 0

    def leave(self, file: str, reason: str) -> None:
        """Note one more file that is left out."""
        self.skipped_total += 1
        if len(self.skipped) < _SKIPS_TOLD:
            self.skipped.append(Skipped(file=file, reason=reason))

    def nothing(self, wanted: str) -> InputError:
        """The refusal of a task in which there is no `wanted`, with what was left out and why."""
        if not self.skipped:
            return InputError(f"There is no {wanted} in what the task names.")
        reasons = "; ".join(f"{one.file}: {one.reason}" for one in self.skipped[:3])
        more = f"; and {self.skipped_total - 3} more" if self.skipped_total > 3 else ""
        return InputError(
            f"There is no {wanted} that can be read in what the task names ({reasons}{more})."
        )


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """One file as it is; `parts` below the workspace's root, none for code given inline."""

    file: str
    content: bytes
    language: str | None = None
    parts: tuple[bytes, ...] = ()


def contents(what: Reviewable, taken: Taken) -> Iterator[Content]:
    """Every file that `what` means, text or not; those that cannot be read are noted in `taken`.

    Raises InputError where the files hold more together than the place allows.
    """
    for inline in what.inline:
        yield Content(file=inline.name, content=inline.content, language=inline.language)
    if what.place is None:
        return
    most = what.place.limits.total_bytes
    workspace = Workspace(what.place.root, what.place.excluded, what.place.limits)
    selection = workspace.select(what.patterns)
    taken.skipped += selection.skipped
    taken.skipped_total += selection.skipped_total
    total = 0
    instead = {one.name: one.content for one in what.instead}
    for parts in selection.files:
        try:
            name = shown(parts)
            content = instead[name] if name in instead else workspace.read(parts)
        except NotReadable as error:
            taken.leave(shown(parts), str(error))
            continue
        total += len(content)
        if total > most:
            raise InputError(
                f"The named files hold more than {most:,} bytes together. Name fewer with `files`."
            )
        yield Content(file=shown(parts), content=content, parts=parts)


def take(what: Reviewable) -> Taken:
    """Read all that `what` means; binary files, and those that are no text, are left out."""
    taken = Taken()
    for one in contents(what, taken):
        source = decoded(one, taken)
        if source is not None:
            taken.sources.append(source)
    return taken


def decoded(one: Content, taken: Taken) -> Source | None:
    """A file as text; None, noted in `taken`, where it is none."""
    if is_binary(one.content) and not looks_python(one.file, one.content):
        taken.leave(one.file, "binary")
        return None
    try:
        return read_source(one.file, one.content, one.language)
    except SourceError as error:
        taken.leave(one.file, f"line {error.line}: {error.reason}")
        return None
