"""A run and its folder: training, resuming, loading, scoring, replaying."""
