"""The worker process: `python -m sutazai.analysis.worker`, spoken to over stdin and stdout.

It is the only process that imports bandit, libcst and ruff. It ends when its stdin closes or its
parent dies, and is killed rather than asked when a review is no longer wanted.
"""

import ctypes
import gc
import hashlib
import importlib
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO, get_type_hints

import msgspec

from sutazai.analysis.globs import InputError
from sutazai.analysis.protocol import (
    Answer,
    Call,
    Collect,
    Collected,
    Failed,
    FileRef,
    FileReview,
    Inline,
    Place,
    Progress,
    Refused,
    Request,
    Returned,
    Review,
    Reviewed,
    encode,
    read_frame,
)
from sutazai.analysis.review import Analyser, Input, analysers
from sutazai.analysis.source import is_binary, looks_python
from sutazai.analysis.workspace import NotReadable, Skipped, Workspace, shown

_ADDRESS_SPACE = 4 * 1024**3
_OPEN_FILES = 256
_LARGEST_OUTPUT = 512 * 1024**2
_PROGRESS_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1


class Worker:
    """Answers requests one after the other."""

    def __init__(self, output: BinaryIO, temporary: Path) -> None:
        self._output = output
        self._versions = analysers()
        self._analyser = Analyser(temporary)
        self._salt = repr(sorted({**self._versions, "python": sys.version}.items())).encode()

    def answer(self, request: Request) -> Answer:
        """The last word on a request; Progress goes out before it."""
        match request:
            case Collect():
                return self._collect(request)
            case Review():
                return self._review(request)
            case Call():
                return _call(request)

    def send(self, answer: Answer) -> None:
        """Write one frame."""
        self._output.write(encode(answer))
        self._output.flush()

    def _collect(self, request: Collect) -> Collected:
        files = [self._inline_ref(inline) for inline in request.inline]
        skipped: list[Skipped] = []
        skipped_total = 0
        if request.place is not None:
            workspace = _workspace(request.place)
            selection = workspace.select(request.patterns)
            skipped, skipped_total = selection.skipped, selection.skipped_total
            total = 0
            for parts in selection.files:
                try:
                    content = _text(workspace, parts)
                except NotReadable as error:
                    skipped_total += 1
                    if len(skipped) < 1_000:
                        skipped.append(Skipped(file=shown(parts), reason=str(error)))
                    continue
                total += len(content)
                if total > request.place.limits.total_bytes:
                    raise InputError(
                        f"The named files hold more than {request.place.limits.total_bytes:,} "
                        "bytes together. Name fewer with `files`."
                    )
                files.append(self._file_ref(parts, content))
        return Collected(
            files=files, skipped=skipped, skipped_total=skipped_total, analysers=self._versions
        )

    def _review(self, request: Review) -> Reviewed:
        workspace = _workspace(request.place) if request.place is not None else None
        inputs: list[Input] = []
        order: list[Input | FileReview] = []
        for ref in request.files:
            item = self._input(ref, workspace)
            order.append(item)
            if isinstance(item, Input):
                inputs.append(item)
        progress = _Progress(self)
        reviews = iter(self._analyser.review(inputs, progress.note))
        return Reviewed(
            files=[item if isinstance(item, FileReview) else next(reviews) for item in order]
        )

    def _input(self, ref: FileRef, workspace: Workspace | None) -> Input | FileReview:
        if ref.inline is not None:
            return Input(
                file=ref.file,
                key=ref.key,
                content=ref.inline.content,
                language=ref.inline.language,
            )
        try:
            if workspace is None:
                raise NotReadable("no workspace was named")
            content = _text(workspace, ref.parts)
        except NotReadable as error:
            skipped = Skipped(file=ref.file, reason=str(error))
            return FileReview(file=ref.file, key="", lines=0, findings=[], skipped=skipped)
        # The file may have changed since it was digested: the key follows what is reviewed.
        return Input(file=ref.file, key=self._key(ref.file, content, None), content=content)

    def _inline_ref(self, inline: Inline) -> FileRef:
        key = self._key(inline.name, inline.content, inline.language)
        return FileRef(file=inline.name, size=len(inline.content), key=key, inline=inline)

    def _file_ref(self, parts: tuple[bytes, ...], content: bytes) -> FileRef:
        file = shown(parts)
        key = self._key(file, content, None)
        return FileRef(file=file, size=len(content), key=key, parts=parts)

    def _key(self, file: str, content: bytes, language: str | None) -> str:
        digest = hashlib.sha256(self._salt)
        digest.update(f"\x00{file}\x00{language}\x00".encode())
        digest.update(content)
        return f"review:{digest.hexdigest()}"


class _Progress:
    """Sums up finished files and tells of them a few times a second."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._files = self._lines = self._issues = 0
        self._told = time.monotonic()

    def note(self, files: int, lines: int, issues: int) -> None:
        self._files += files
        self._lines += lines
        self._issues += issues
        if time.monotonic() - self._told >= _PROGRESS_SECONDS:
            self._worker.send(Progress(files=self._files, lines=self._lines, issues=self._issues))
            self._files = self._lines = self._issues = 0
            self._told = time.monotonic()


def _call(request: Call) -> Returned:
    module, _, name = request.function.partition(":")
    if not module.startswith("sutazai.analysis."):
        raise ValueError(f"{request.function} is no function of the analysis")
    function = getattr(importlib.import_module(module), name)
    (kind,) = (hint for key, hint in get_type_hints(function).items() if key != "return")
    argument = msgspec.msgpack.decode(request.argument, type=kind)
    return Returned(value=msgspec.msgpack.encode(function(argument)))


def _workspace(place: Place) -> Workspace:
    return Workspace(place.root, place.excluded, place.limits)


def _text(workspace: Workspace, parts: tuple[bytes, ...]) -> bytes:
    content = workspace.read(parts)
    # A NUL in Python is a broken file worth telling about; elsewhere it is no text at all.
    if is_binary(content) and not looks_python(shown(parts), content):
        raise NotReadable("binary")
    return content


def _confine() -> None:
    """Limits of this process, and its end with its parent's."""
    if sys.platform == "linux":  # elsewhere the end of stdin has to do
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for kind, most in (
        (resource.RLIMIT_AS, _ADDRESS_SPACE),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_FSIZE, _LARGEST_OUTPUT),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (limit, limit))


def main() -> None:
    """Serve requests until stdin ends."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever a library prints must not end up between two frames.
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    _confine()
    worker = Worker(answers, Path(tempfile.gettempdir()))
    decoder = msgspec.msgpack.Decoder(Request)
    gc.collect()
    gc.freeze()
    gc.disable()  # trees are cyclic and die together: they are collected between files
    while (frame := read_frame(requests)) is not None:
        try:
            answer = worker.answer(decoder.decode(frame))
        except InputError as error:
            answer = Refused(message=str(error))
        except Exception as error:  # told to the parent, which decides
            answer = Failed(message=f"{type(error).__name__}: {error}"[:500])
        worker.send(answer)
        gc.collect()


if __name__ == "__main__":
    main()
