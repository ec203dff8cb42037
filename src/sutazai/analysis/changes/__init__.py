"""What a change changes, and what of it deserves a second look."""
