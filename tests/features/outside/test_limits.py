"""Agents from outside where requests are counted, as they are outside of tests."""

from pathlib import Path

from tests.api.server import error_of, serving, settings_for
from tests.features.outside.joining import given, join

CALLS = 6


async def test_agents_have_an_allowance_of_their_own_and_no_other_door(
    database_url: str | None, data_dir: Path, tmp_path: Path
) -> None:
    settings = settings_for(
        data_dir,
        database_url,
        tmp_path,
        agents=False,
        rate_limits=True,
        rate_limit_requests_agent=CALLS,
    )
    async with serving(settings, roles=[]) as server:
        agent = await join(server, "counted-01")
        other = await join(server, "counted-02")
        _, assignment = await given(server, agent)
        url = "http://sutazai.test/graphql"
        for method, path in (("POST", url), ("GET", "/tasks"), ("GET", "/auth/me")):
            answer = await agent.client.request(method, path, json={"query": "{ me { userId } }"})
            assert answer.status_code == 403, answer.text
        answer = await agent.report(assignment, "complete", result={})
        assert f"q={CALLS};" in answer.headers["ratelimit-policy"]
        await agent.beat()
        refused = await agent.client.post(f"/agents/{agent.agent_id}/heartbeat")
        error_of(refused, 429, "RATE_LIMIT_EXCEEDED")
        await other.beat()
