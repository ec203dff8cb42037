"""The import rules that need more than a contract; the contracts are in pyproject.toml."""

import grimp
import pytest

from tests.house_rules.tree import report

# The engine is no feature but the ground they stand on: services enqueue through its store.
SHARED_STORES = {"sutazai.engine.store", "sutazai.engine.remote_store"}
EDGES = ("sutazai.api", "sutazai.cli", "sutazai.builtin_agents", "sutazai.__main__")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("sutazai", cache_dir=None)


def _stores(graph: grimp.ImportGraph) -> list[str]:
    return sorted(
        module for module in graph.modules if module.split(".")[-1].split("_")[-1] == "store"
    )


def test_a_store_is_used_by_its_own_feature_only(graph: grimp.ImportGraph) -> None:
    stores = [store for store in _stores(graph) if store not in SHARED_STORES]
    found = [
        f"{importer} imports {store}; call the service of {feature}"
        for store in stores
        for feature in [store.rpartition(".")[0]]
        for importer in sorted(graph.find_modules_that_directly_import(store))
        if not f"{importer}.".startswith(f"{feature}.")
    ]
    assert stores
    assert not found, report(found)


def test_the_edges_call_services_never_stores(graph: grimp.ImportGraph) -> None:
    stores = _stores(graph)
    found = [
        f"{importer} imports {store}"
        for store in stores
        for importer in sorted(graph.find_modules_that_directly_import(store))
        if importer.startswith(EDGES)
    ]
    assert stores
    assert not found, report(found)
