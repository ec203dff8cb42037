"""What is counted: only what was committed, with few labels, and nothing by accident."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from sutazai.database import Connection, Database, StepFailed, open_database, step, tally
from sutazai.telemetry.host import Host
from sutazai.telemetry.instruments import MOST_VALUES, TALLIES, Instruments
from tests.house_rules.tree import python_files


class Undo(Exception):
    pass


@pytest.fixture
async def metered(database_url: str | None, data_dir: Path, database: Database) -> Instruments:
    instruments = Instruments(version="1")
    opened = await open_database(url=database_url, data_dir=data_dir, meter=instruments)

    def fine(connection: Connection) -> None:
        def half() -> None:
            tally(connection, "events", "in.a.failed.step")
            raise Undo

        tally(connection, "events", "committed", by=2)
        with pytest.raises(StepFailed):
            step(connection, half)

    def undone(connection: Connection) -> None:
        tally(connection, "events", "undone")
        raise Undo

    await opened.run(fine)
    with pytest.raises(Undo):
        await opened.run(undone)
    await opened.run(fine)
    await opened.close()
    return instruments


async def test_only_what_was_committed_counts(metered: Instruments) -> None:
    def value(event_type: str) -> float | None:
        return metered.registry.get_sample_value(
            "sutazai_events_appended_total", {"event_type": event_type}
        )

    assert value("committed") == 4
    assert value("undone") is None
    assert value("in.a.failed.step") is None
    assert metered.registry.get_sample_value("sutazai_database_write_units_sum") == 2


def test_every_tally_has_its_counter_and_labels() -> None:
    found = 0
    for path in python_files("src"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "tally"
            ):
                name = node.args[1]
                assert isinstance(name, ast.Constant)
                assert isinstance(name.value, str)
                assert len(node.args) - 2 == len(TALLIES[name.value][2]), path
                found += 1
    assert found >= len(TALLIES)


def test_hostile_names_fill_neither_memory_nor_answers() -> None:
    instruments = Instruments(version="1")
    for number in range(MOST_VALUES * 5):
        instruments.add_tallies({("tasks_accepted", f"type-{number}"): 1})
        instruments.task_ran(f"type-{number}", 0.1)
        instruments.http_request(f"METHOD-{number}", "unmatched", 405, 0.1)
    text = generate_latest(instruments.registry).decode()
    accepted = [line for line in text.splitlines() if line.startswith("sutazai_tasks_accepted_t")]
    assert len(accepted) == MOST_VALUES + 1
    assert f'sutazai_tasks_accepted_total{{type="other"}} {MOST_VALUES * 4}.0' in accepted
    assert text.count("sutazai_http_request_duration_seconds_count{") == 1
    assert text.count("sutazai_task_duration_seconds_count{") == MOST_VALUES + 1


def test_a_container_is_measured_by_its_own_limits(tmp_path: Path) -> None:
    cgroup = tmp_path / "cgroup"
    cgroup.mkdir()
    mib = 1024 * 1024
    for name, text in {
        "memory.max": f"{100 * mib}\n",
        "memory.current": f"{60 * mib}\n",
        "memory.stat": f"anon {30 * mib}\ninactive_file {20 * mib}\n",
        "cpu.max": "50000 100000\n",
        "cpu.stat": "usage_usec 1000000\nuser_usec 1\n",
    }.items():
        (cgroup / name).write_text(text)
    use = Host(data_dir=tmp_path, cgroup=cgroup).read()
    assert (use.memory_usage, use.memory_total) == (40, 100)
    assert 0 <= use.cpu_usage <= 100


@pytest.mark.parametrize("limit", ["max", "", "nonsense", "99999999999999999"])
def test_without_a_limit_the_machine_is_measured(tmp_path: Path, limit: str) -> None:
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.current").write_text("1")
    (tmp_path / "cpu.max").write_text(limit)
    limited = Host(data_dir=tmp_path, cgroup=tmp_path).read()
    assert limited.memory_total == Host(data_dir=tmp_path, cgroup=tmp_path / "none").read()[2]


_START = """
import asyncio, sys
from pathlib import Path
from tests.api.server import settings_for
from sutazai.bootstrap import running

async def main():
    data = Path(sys.argv[1])
    async with running(settings_for(data, None, data)):
        assert not [name for name in sys.modules if name.startswith("opentelemetry.sdk")]
        assert not [name for name in sys.modules if name.startswith("opentelemetry.exporter")]

asyncio.run(main())
"""


def test_nothing_of_the_sdk_is_loaded_without_an_endpoint(data_dir: Path) -> None:
    subprocess.run([sys.executable, "-c", _START, str(data_dir)], check=True)
