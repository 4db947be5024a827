"""Engines: what computes over tables, one file per library."""
