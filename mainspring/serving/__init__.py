"""Serving: endpoints, the HTTP application, rollout and the prediction log."""
