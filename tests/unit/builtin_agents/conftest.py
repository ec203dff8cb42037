"""The worker process that every built-in agent's tests use."""

from collections.abc import AsyncIterator

import pytest

from sutazai.analysis.pool import AnalysisPool


@pytest.fixture
async def pool() -> AsyncIterator[AnalysisPool]:
    """A pool of one process."""
    pool = AnalysisPool(processes=1)
    await pool.start()
    yield pool
    await pool.close()
