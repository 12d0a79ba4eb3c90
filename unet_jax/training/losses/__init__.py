"""Losses as sums and a value of the sums: exact on any number of devices."""
