"""Stores: where data lives; a protocol in `base.py`, one file per library, chosen by URL."""
