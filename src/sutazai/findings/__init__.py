"""What is remembered of findings: which were dismissed and why, and which are new."""
