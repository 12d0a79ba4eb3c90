"""Plans the memory and time of a run before a machine is rented: compiles its training step without running it."""
