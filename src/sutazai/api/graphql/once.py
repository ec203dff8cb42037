"""Mutations that are done once, however often they are sent."""

import msgspec

from sutazai.api.graphql.objects import Info
from sutazai.api.requests import Input
from sutazai.limits.idempotency import Replayable


def replayable(info: Info, request: Input | None, key: str | None, *of: str) -> Replayable | None:
    """A claim on an earlier answer, None without a key; `of` are the ids of what it is done to.

    One header serves several mutations of a request, each by its name in it.
    """
    context = info.context
    path = "#".join(("/graphql", info.field_name, *of))
    if key is None:
        key, path = context.idempotency_key, f"{path}:{info.path.key}"
    if key is None:
        return None
    said = {} if request is None else request.model_dump(mode="json")
    claim = context.services.idempotency.claim(
        key,
        principal=context.principal.actor,
        method="POST",
        path=path,
        body=msgspec.json.encode(said, order="deterministic"),
    )
    return context.services.idempotency.replayable(claim)
