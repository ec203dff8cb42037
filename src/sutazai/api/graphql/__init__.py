"""`/graphql`: the resources as one graph. The first request imports Strawberry, not the start."""
