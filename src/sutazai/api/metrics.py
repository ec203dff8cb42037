"""`/metrics`: the figures in JSON below the versions, and for Prometheus at the root."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from sutazai.api.requests import CurrentServices, answer, needs, principal_of, services_of
from sutazai.api.schemas import MetricsReport, errors
from sutazai.identity.model import require

router = APIRouter(prefix="/metrics", tags=["metrics"])


@router.get(
    "",
    operation_id="getMetrics",
    summary="Metrics",
    response_model=MetricsReport,
    responses=errors(403),
    dependencies=[needs("read", "metrics")],
)
async def get_metrics(services: CurrentServices) -> Response:
    """How the machine, the agents and the tasks are doing, measured now."""
    return answer(await services.metrics.report())


async def scrape(request: Request) -> Response:
    """`/metrics`, as Prometheus reads it: text, or OpenMetrics where `Accept` asks for it."""
    require(await principal_of(request), "read", "metrics")
    metrics = (await services_of(request)).metrics
    body, media_type = await metrics.exposition(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": media_type})
