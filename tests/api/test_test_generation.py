"""Test generation from the outside: a task in, a file of tests out."""

import asyncio

from tests.api.server import FINAL, Server, submit

CODE = """
def sign(number: int) -> int:
    if number < 0:
        return -1
    if number > 0:
        return 1
    return 0
"""


async def test_a_task_gives_a_file_of_tests_with_its_evidence(server: Server) -> None:
    metadata = {"code": CODE, "file": "signs.py", "seconds": 60}
    task = await submit(server.user, "test_generation", metadata=metadata)
    # Searching and proving take their time, and more of it on a busy machine.
    async with asyncio.timeout(180):
        while (await server.user.get(f"/tasks/{task['task_id']}?wait=20")).json()[
            "status"
        ] not in FINAL:
            pass
    answer = (await server.user.get(f"/tasks/{task['task_id']}/result")).json()
    assert (answer["type"], answer["status"]) == ("test_generation", "completed")
    result = answer["result"]
    [file] = result["tests"]
    assert file["file"] == "tests/test_signs.py"
    assert "from signs import sign" in file["content"]
    assert file["tests"]
    assert result["coverage"]["line"] == 1.0
    assert result["mutation"]["killed"] > 0
    listed = (await server.developer.get("/agents/test-generator-01")).json()
    assert listed["capabilities"] == ["test_generation"]
