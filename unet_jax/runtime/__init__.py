"""Devices, processes, compilation, and the command line that every program shares."""
