"""Agents: what one is, which there are, and how they fare."""
