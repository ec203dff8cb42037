"""The HTTP edge: requests in, service calls, envelopes out."""
