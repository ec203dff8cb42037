"""Ours beside its baselines, measured in one run on this machine."""
