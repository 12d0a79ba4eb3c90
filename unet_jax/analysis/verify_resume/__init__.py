"""A command that kills and resumes a run, and compares it bit by bit with one never stopped."""
