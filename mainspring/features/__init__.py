"""Features: the values of a key, as they were known at a time."""
