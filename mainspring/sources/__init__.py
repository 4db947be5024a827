"""Sources: typed feeds of rows, their contracts, quarantine, tables and the log."""
