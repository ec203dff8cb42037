"""Tasks: what users ask for, from submission to result."""
