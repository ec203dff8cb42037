"""Workflows: steps that depend on each other, run as ordinary tasks."""
