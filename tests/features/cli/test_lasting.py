"""Garbage is collected again once a server is up, and where it could not start."""

import gc

import pytest

from sutazai.cli.lasting import made_to_last


@pytest.mark.parametrize("fails", [False, True])
def test_garbage_is_left_alone_until_all_is_made_and_no_longer(fails: bool) -> None:
    before = gc.get_freeze_count()
    try:
        with made_to_last() as all_made:
            assert not gc.isenabled()
            if fails:
                raise RuntimeError("it cannot start")
            all_made()
            assert gc.isenabled()
            assert gc.get_freeze_count() > before
    except RuntimeError:
        assert fails
    finally:
        gc.unfreeze()
    assert gc.isenabled()
