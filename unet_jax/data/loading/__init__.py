"""Makes batches from prepared examples, on the host."""
