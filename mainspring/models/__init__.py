"""Fitted versions: how they are fitted, judged, stored, loaded and compared."""
