"""The event log: every change of state, in order, for whoever wants to know."""
