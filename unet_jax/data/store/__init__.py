"""Prepares examples once, stores them as ArrayRecord files, and reads them at random."""
