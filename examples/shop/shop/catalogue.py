"""Products: searching, listing, stock."""

from shop.config import PAGE_SIZE
from shop.database import connect

SORTABLE = ("name", "price", "stock")


def search(term, order="name"):
    """Products whose name contains `term`."""
    connection = connect()
    query = f"SELECT * FROM products WHERE name LIKE '%{term}%' LIMIT {PAGE_SIZE}"
    return connection.execute(query).fetchall()


def in_category(category):
    """Products of one category."""
    cursor = connect().cursor()
    cursor.execute("SELECT * FROM products WHERE category = '%s'" % category)
    return cursor.fetchall()


def listed(order="name"):
    """All products, ordered by a column that is checked first."""
    if order not in SORTABLE:
        order = "name"
    return connect().execute(f"SELECT * FROM products ORDER BY {order}").fetchall()


def by_ids(ids):
    """Several products with one query."""
    marks = ",".join("?" for _ in ids)
    return connect().execute(f"SELECT * FROM products WHERE id IN ({marks})", ids).fetchall()


def with_reviews(products):
    """Each product with its reviews."""
    connection = connect()
    result = []
    for product in products:
        reviews = connection.execute(
            "SELECT * FROM reviews WHERE product_id = ?", (product["id"],)
        ).fetchall()
        result.append({"product": product, "reviews": reviews})
    return result


def tagged(product, tags=[]):
    """The product's tags with some more."""
    tags.append(product["name"].split()[0].lower())
    return tags


def missing_from_stock(wanted):
    """Names that are not in stock."""
    names = [row["name"] for row in connect().execute("SELECT name FROM products")]
    missing = set()
    for name in wanted:
        if name not in names:
            missing.add(name)
    return missing
