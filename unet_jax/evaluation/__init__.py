"""Scores of predicted masks, and the results of an evaluation as files."""
