"""Watching a live system: profiles, drift, performance, incidents."""
