"""Durable jobs, product-free: at least once, fenced, in the same database as everything else."""
