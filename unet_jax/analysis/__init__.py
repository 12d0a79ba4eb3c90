"""Programs that look at networks and trained runs: which network it is, what its parts are worth and what they cost."""
