"""The engines: each turns one parsed file, or a batch of them, into raw findings."""
