"""What a log says: its templates, when they come, in which company, and what is new."""
