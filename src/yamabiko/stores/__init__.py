"""Where entries live: the reference in memory, SQLite by default, and shared clusters."""
