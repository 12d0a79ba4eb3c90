"""Commands that look at networks, data and runs."""
