"""What a summary says of files that could not be read."""

from collections.abc import Sequence

from sutazai.analysis.protocol import Unparsed


def with_unread(said: str, unparsed: Sequence[Unparsed], *, files: int, found: bool) -> str:
    """A summary that does not pass over those of `files` that no parser could read.

    Where none could be and nothing was `found` all the same, what was `said` would be misleading:
    that nothing could be read is then all there is to say.
    """
    if not unparsed:
        return said
    first, number = unparsed[0], len(unparsed)
    why = f"{first.file}, line {first.line}: {first.reason}"
    if number > 1:
        why += f"; and {number - 1} more"
    if number >= files and not found:
        which = "The code could not" if files == 1 else f"None of the {files} files could"
        return f"{which} be read ({why})"
    of = f"{number} of {files} files" if files > 1 else "the code"
    return f"{said}; {of} could not be read ({why})"
