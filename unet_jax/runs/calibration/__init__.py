"""The calibration of a run: how temperature and intervals of overhangs are fitted, and the file that keeps them."""
