"""From a traceback and the source to where a failure comes from."""
