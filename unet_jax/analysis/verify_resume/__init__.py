"""Kills and resumes a run, and compares it bit by bit with an uninterrupted one."""
