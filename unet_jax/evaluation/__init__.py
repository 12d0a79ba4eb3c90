"""Scores of predicted masks, and what an evaluation writes."""
