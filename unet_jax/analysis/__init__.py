"""Analyses of networks, data and runs."""
