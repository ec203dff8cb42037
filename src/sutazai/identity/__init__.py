"""Who may do what: users, roles, sessions, tokens and API keys."""
