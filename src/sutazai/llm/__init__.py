"""Language models: asking one, what it cost, and what may be spent. No HTTP: adapters have that."""
