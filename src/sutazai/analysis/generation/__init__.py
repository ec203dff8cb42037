"""Generating tests: what runs in the server, and in `inside` what runs in the sandbox."""
