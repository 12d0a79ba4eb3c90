"""Examples prepared once, kept as ArrayRecord, and read at random."""
