"""`sutazai config`: what is in force."""

from sutazai.cli.output import Format, print_json, print_table
from sutazai.settings import in_force, load


def config(output: Format) -> None:
    """Print every setting with its value, where that comes from, and what it means."""
    rows = in_force(load())
    if output is Format.JSON:
        print_json([row._asdict() for row in rows])
    else:
        cells = [(row.name, row.value or None, row.source, row.description) for row in rows]
        print_table(("SETTING", "VALUE", "FROM", "MEANING"), cells)
