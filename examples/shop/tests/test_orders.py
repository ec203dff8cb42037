"""Tests of the orders."""

from shop import orders


def test_total_adds_all_lines():
    lines = [{"price": 250, "count": 2}, {"price": 99, "count": 1}]
    assert orders.total(lines) == 599


def test_packing_list_names_every_article():
    lines = [{"name": "tea", "count": 1}, {"name": "cups", "count": 4}]
    assert orders.packing_list(lines) == "1 x tea\n4 x cups"


def test_ship_all_ships_the_oldest_first():
    assert orders.ship_all([{"id": 3}, {"id": 4}]) == [3, 4]
