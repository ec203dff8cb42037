from functools import partial

from sutazai import clock
from sutazai.database import Database
from sutazai.findings import store
from sutazai.findings.model import Dismissal
from sutazai.findings.retention import purge_reviews

_HOUR = 3600 * clock.SECOND


async def test_old_reviews_are_forgotten_and_dismissals_are_not(database: Database) -> None:
    note = partial(store.note_review, project="p", commit="a" * 40)
    now = clock.now()
    await database.run(partial(note, task_id="old", now=now - 2 * _HOUR))
    await database.run(partial(note, task_id="new", now=now))
    dismissal = Dismissal("p", "f", "", "why", "u", now - 2 * _HOUR, "old")
    await database.run(partial(store.dismiss, dismissal=dismissal))
    assert await database.run(partial(purge_reviews, _HOUR)) == 1
    assert await database.run(partial(purge_reviews, _HOUR)) == 0
    assert await database.read(partial(store.project_reviewed, task_id="old")) is None
    assert await database.read(partial(store.reviews_of, project="p", commit="aaaaaaa")) == ["new"]
    kept = await database.read(partial(store.dismissals, project="p", owners=[""]))
    assert kept == {"f": dismissal}
