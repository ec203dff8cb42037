"""What a server makes while it starts lasts as long as it, so nobody looks for garbage in it."""

import contextlib
import gc
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def made_to_last() -> Iterator[Callable[[], None]]:
    """No garbage is collected until the function that is given is called, or the block ends.

    A seventh of the time that the imports take went into looking. From the call on, what there is
    by then is not looked through again, which keeps the pauses of a full collection short.
    """

    def all_made() -> None:
        gc.freeze()
        gc.enable()

    gc.disable()
    try:
        yield all_made
    finally:
        gc.enable()
