"""The plates of an electrode stack: found in masks, measured, scored, and written as tables."""
