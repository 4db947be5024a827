"""Retraining: triggers, the journal of durable steps, and the loop that closes the circle."""
