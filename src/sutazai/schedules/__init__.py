"""Tasks and workflows that begin by themselves, at set times."""
