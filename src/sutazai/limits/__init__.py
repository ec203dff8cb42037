"""How much one caller may ask for, and making what was asked for only once."""
