"""The language model's part of the composition root: what the settings ask for, put together."""

from pathlib import Path

from sutazai.agents.model import DEFAULT_CONFIGURATION
from sutazai.database import Database
from sutazai.errors import ErrorCode, SutazaiError
from sutazai.llm.accounts import Accounts
from sutazai.llm.model import Budget, Scope
from sutazai.llm.port import ModelServer
from sutazai.llm.prices import Price, Prices
from sutazai.llm.reach import Reach
from sutazai.llm.recording import RecordingServer, ReplayServer
from sutazai.llm.service import Models
from sutazai.settings import OFF, Settings
from sutazai.telemetry.instruments import Instruments
from sutazai.telemetry.tracing import Tracing

_OLLAMA = "http://127.0.0.1:11434"


def make_models(
    settings: Settings, database: Database, instruments: Instruments, tracing: Tracing | None
) -> Models:
    """The models of the server that the settings name, or of the Ollama of this machine."""
    server = _server(settings)
    reach = Reach(
        server=server,
        is_configured=settings.llm_replay is not None or settings.llm_url not in (None, OFF),
        usual_model=DEFAULT_CONFIGURATION["model"],
        default_model=settings.llm_model,
        fallback_model=settings.llm_fallback_model,
    )
    table = {
        name: Price(input=price.input, output=price.output)
        for name, price in settings.llm_prices.items()
    }
    budgets = {
        Scope(scope): Budget(tokens=budget.tokens, cost=budget.cost)
        for scope, budget in settings.llm_budgets.items()
    }
    accounts = Accounts(
        database=database,
        budgets=budgets,
        prices=Prices(table, is_local=server is not None and server.is_local),
        call_seconds=settings.llm_timeout_seconds,
    )
    return Models(
        server=server,
        reach=reach,
        accounts=accounts,
        concurrency=settings.llm_concurrency,
        retries=settings.llm_retries,
        task_seconds=settings.llm_task_seconds,
        caches=settings.llm_cache,
        instruments=instruments,
        tracing=tracing,
    )


def _server(settings: Settings) -> ModelServer | None:
    if settings.llm_replay is not None:
        return _replay(settings.llm_replay)
    server = _live(settings)
    if server is None or settings.llm_record is None:
        return server
    return RecordingServer(server, settings.llm_record)


def _replay(path: Path) -> ModelServer:
    try:
        return ReplayServer(path)
    except (OSError, ValueError) as error:
        raise SutazaiError(
            ErrorCode.VALIDATION_ERROR,
            f"A setting is wrong. SUTAZAI_LLM_REPLAY: {path} cannot be used: {error}",
        ) from error


def _live(settings: Settings) -> ModelServer | None:
    if settings.llm_url == OFF:
        return None
    # Its libraries are imported by its first call.
    from sutazai.adapters.pydantic_llm import OLLAMA, PydanticServer

    key = settings.llm_api_key
    found = settings.llm_url is None
    return PydanticServer(
        settings.llm_url or _OLLAMA,
        provider=OLLAMA if found else settings.llm_provider,
        # What was merely found there is not told the key of another.
        api_key=None if found or key is None else key.get_secret_value(),
        seconds=settings.llm_timeout_seconds,
    )
