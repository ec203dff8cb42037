"""What a result says of files that could not be read, or that no analysis here understands."""

from collections import Counter
from collections.abc import Sequence

from sutazai.analysis.languages import other_language
from sutazai.analysis.protocol import FileReview, Unparsed

_MOST_LISTED = 1_000


def not_analysed(files: Sequence[FileReview]) -> list[dict[str, str]]:
    """Code in other languages among what was reviewed, which was searched for secrets alone."""
    return [
        {"file": review.file, "reason": f"{language} is not analysed, only searched for secrets"}
        for review in files
        if review.only_scanned and (language := other_language(review.file)) is not None
    ][:_MOST_LISTED]


def with_not_analysed(said: str, files: Sequence[FileReview]) -> str:
    """A summary that does not pass over code in other languages."""
    languages = Counter(other_language(review.file) for review in files if review.only_scanned)
    told = [
        f"{count} of {language}"
        for language, count in languages.most_common()
        if language is not None
    ]
    if not told:
        return said
    return f"{said}; not analysed, but for secrets, were files of code: {', '.join(told)}"


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
