"""Telling users by HTTP that their tasks have ended: signed, retried, logged."""
