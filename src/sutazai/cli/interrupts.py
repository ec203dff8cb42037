"""When Ctrl-C may be heard."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hear Ctrl-C at the end of the block, as KeyboardInterrupt, and not within it.

    For imports: Python takes a module's lock away in a callback whose exceptions it prints and
    drops, so that an interrupt which is raised there is lost. Only the main thread hears signals;
    where they are ignored they stay so.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    heard = False

    def remember(*_: object) -> None:
        nonlocal heard
        heard = True

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if heard:
            raise KeyboardInterrupt
