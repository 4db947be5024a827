"""Training: labels, training sets, splits in time and the tracking of runs."""
