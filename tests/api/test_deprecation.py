"""A version that the settings call deprecated says so on every answer, and goes on as it was."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from sutazai.errors import SutazaiError
from sutazai.settings import DeprecatedVersion, load
from tests.api.server import Server, serving, settings_for

ROOT = "http://sutazai.test"
GUIDE = "https://docs.sutazai.com/migration/v2"
V1 = {"X-API-Version": "1.0"}


@pytest.fixture(params=["past", "future"])
async def deprecating(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Server, str, str]]:
    """A server whose version 1.0 is deprecated; the day, and the sentence that tells it."""
    day, tense = ("2025-12-31", "was") if request.param == "past" else ("2999-12-31", "will be")
    told = DeprecatedVersion.model_validate(
        {"deprecated": day, "sunset": "2999-12-31", "migration_guide": GUIDE}
    )
    sentence = f"Version 1.0 {tense} deprecated on {day}; its sunset is on 2999-12-31"
    (tmp_path / "workspace").mkdir()
    settings = settings_for(
        tmp_path / "data",
        None,
        tmp_path / "workspace",
        deprecated_versions={"1.0": told},
        cors_origins=("https://page.test",),
    )
    async with serving(settings, roles=["user"]) as server:
        yield server, day, sentence


async def test_a_deprecated_version_says_so_on_every_answer(
    deprecating: tuple[Server, str, str],
) -> None:
    server, day, sentence = deprecating
    midnight = datetime.fromisoformat(f"{day}T00:00:00+00:00")
    old = [
        ("/api/v1/auth/me", {}, 200),
        ("/api/v1/nothing", {}, 404),
        ("/api/v1/openapi.json", {}, 200),
        ("/api/auth/me", V1, 200),
        ("/api/tasks?limit=1000", V1, 422),
    ]
    for path, headers, status in old:
        answer = await server.user.get(ROOT + path, headers=headers)
        assert answer.status_code == status
        assert answer.headers["deprecation"] == f"@{int(midnight.timestamp())}"
        assert answer.headers["sunset"].endswith(" GMT")
        sunset = parsedate_to_datetime(answer.headers["sunset"])
        assert sunset == datetime(2999, 12, 31, tzinfo=UTC)
        successor = path.partition("?")[0].replace("/api/v1", "/api").replace("/api", "/api/v2")
        assert answer.headers["link"] == (
            f'<{GUIDE}>; rel="deprecation", <{successor}>; rel="successor-version", '
            f'<{GUIDE}>; rel="sunset"'
        )
    plain = await server.user.get("/auth/me")
    answer = await server.user.get(f"{ROOT}/api/auth/me", headers=V1)
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert list(answer.json().items()) == [
        ("api_version", "1.0"),
        ("deprecation_warning", sentence),
        ("migration_guide", GUIDE),
        ("data", plain.json()),
    ]


async def test_the_newest_version_is_not_touched_by_that(
    deprecating: tuple[Server, str, str],
) -> None:
    server, _, _ = deprecating
    for place in ("/api/v2", "/api"):
        answer = await server.user.get(f"{ROOT}{place}/auth/me")
        assert list(answer.json()) == ["api_version", "data"]
        assert not {"deprecation", "sunset", "link"} & set(answer.headers)


async def test_a_successor_is_named_in_characters_that_a_header_can_have(
    deprecating: tuple[Server, str, str],
) -> None:
    server, _, _ = deprecating
    hostile = '/api/v1/agents/é%0d%0aX-Evil:1">,<%2f%ff'
    answer = await server.user.get(ROOT + hostile)
    assert "x-evil" not in answer.headers
    target = answer.headers["link"].split(", ")[1]
    assert target.startswith("</api/v2/agents/%C3%A9%0D%0AX-Evil%3A1%22%3E%2C%3C/")


async def test_pages_may_send_the_version_and_read_what_is_said_of_it(
    deprecating: tuple[Server, str, str],
) -> None:
    server, _, _ = deprecating
    asking = {
        "origin": "https://page.test",
        "access-control-request-method": "GET",
        "access-control-request-headers": "x-api-version",
    }
    preflight = await server.anonymous.options(f"{ROOT}/api/tasks", headers=asking)
    assert preflight.status_code == 200
    assert "X-API-Version" in preflight.headers["access-control-allow-headers"]
    answer = await server.anonymous.get("/health", headers={"origin": "https://page.test"})
    shown = answer.headers["access-control-expose-headers"].split(", ")
    assert {"Deprecation", "Sunset", "Link", "X-API-Version"} <= set(shown)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("nonsense", "must be JSON"),
        ("[]", "dictionary"),
        ('{"2.0": {"deprecated": "2026-01-01", "migration_guide": "https://x.test"}}', "'1.0'"),
        ('{"1.0": {"deprecated": "2026-01-01"}}', "1.0.migration_guide: Field required"),
        ('{"1.0": {"deprecated": "soon", "migration_guide": "https://x.test"}}', "1.0.deprecated"),
        ('{"1.0": {"deprecated": "2026-01-01", "migration_guide": "ftp://x"}}', "http"),
        (
            '{"1.0": {"deprecated": "2026-01-02", "sunset": "2026-01-01", "migration_guide": "'
            + GUIDE
            + '"}}',
            "sunset must not be before deprecated",
        ),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, value: str, complaint: str
) -> None:
    monkeypatch.setenv("SUTAZAI_DEPRECATED_VERSIONS", value)
    with pytest.raises(SutazaiError, match="SUTAZAI_DEPRECATED_VERSIONS") as caught:
        load()
    assert complaint in caught.value.message
    assert "\n" not in caught.value.message


def test_the_setting_is_read_as_it_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    value = f'{{"1.0": {{"deprecated": "2025-12-31", "migration_guide": "{GUIDE}"}}}}'
    monkeypatch.setenv("SUTAZAI_DEPRECATED_VERSIONS", value)
    told = load().deprecated_versions["1.0"]
    assert (str(told.deprecated), told.sunset, str(told.migration_guide)) == (
        "2025-12-31",
        None,
        GUIDE,
    )
    with pytest.raises(ValidationError):
        DeprecatedVersion.model_validate({"deprecated": "2025-12-31", "guide": GUIDE})
