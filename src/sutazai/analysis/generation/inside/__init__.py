"""What is shipped into the sandbox: the standard library, pytest and coverage are all it needs.

The module under test is imported here and nowhere else.
"""
