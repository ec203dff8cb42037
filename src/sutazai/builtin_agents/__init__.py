"""The agents that come with the server, on the same contract that third parties get."""
