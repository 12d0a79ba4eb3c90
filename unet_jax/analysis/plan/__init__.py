"""Plans what a run will cost before a machine is rented: its training step is compiled and not run."""
