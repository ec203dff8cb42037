"""The schema: the graph's types, with the bounds of a query before everything."""

from collections.abc import Iterator

import strawberry
from graphql import GraphQLError
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.name_converter import NameConverter
from strawberry.types.enum import EnumValue, StrawberryEnumDefinition
from strawberry.types.execution import ExecutionContext

from sutazai.api.graphql.bounds import parsed
from sutazai.api.graphql.mutation import Mutation
from sutazai.api.graphql.query import Query
from sutazai.api.graphql.scalars import scalars
from sutazai.api.graphql.subscription import Subscription


class _Bounded(SchemaExtension):
    """Parses, so that nothing sees a query that is too large."""

    def on_parse(self) -> Iterator[None]:
        """See SchemaExtension."""
        context = self.execution_context
        assert context.query is not None
        # Before there is a document, this is the name that the client gave.
        context.graphql_document = parsed(context.query, context.operation_name)
        yield


class _Names(NameConverter):
    """camelCase, and values of enumerations as the REST API has them: `completed`."""

    def from_enum_value(self, enum: StrawberryEnumDefinition, enum_value: EnumValue) -> str:
        """See NameConverter."""
        return str(enum_value.value)


class Schema(strawberry.Schema):
    """Leaves the telling of errors to `execution`."""

    def process_errors(
        self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Nothing."""


def make_schema() -> Schema:
    """The schema; making it takes a moment."""
    return Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        extensions=[_Bounded],
        config=StrawberryConfig(name_converter=_Names(), scalar_map=scalars()),
    )
