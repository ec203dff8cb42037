"""Orders: totals, invoices, the queue of parcels."""

import logging

from shop.config import CURRENCY
from shop.database import connect

logger = logging.getLogger(__name__)


def total(lines):
    """Cents for all lines of an order."""
    amount = 0
    for line in lines:
        amount += line["price"] * line["count"]
    return amount


def invoice(order, lines):
    """The invoice as text."""
    text = f"Invoice {order['id']}\n"
    for line in lines:
        text += f"{line['count']} x {line['name']}: {line['price']} {CURRENCY}\n"
    return text


def packing_list(lines):
    """What goes into the parcel, one article a line."""
    return "\n".join(f"{line['count']} x {line['name']}" for line in lines)


def cancel(order_id):
    """Cancel an order, if it is still open."""
    try:
        with connect() as connection:
            connection.execute("UPDATE orders SET state = 'cancelled' WHERE id = ?", (order_id,))
    except Exception:
        pass


def ship_all(waiting):
    """Ship the waiting orders, oldest first."""
    queue = list(waiting)
    shipped = []
    while queue:
        order = queue.pop(0)
        logger.info("shipping order %s", order["id"])
        shipped.append(order["id"])
    return shipped


def discounts(rates):
    """One function for each rate, which takes the rate off a price."""
    functions = []
    for rate in rates:
        functions.append(lambda price: price - price * rate // 100)
    return functions
