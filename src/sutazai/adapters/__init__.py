"""What the server reaches outside of itself; only the composition root picks from here."""
