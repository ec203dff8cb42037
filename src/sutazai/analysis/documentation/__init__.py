"""Documentation from the syntax tree: what code says, and where its docs contradict it."""
