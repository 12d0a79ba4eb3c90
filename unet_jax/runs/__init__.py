"""Runs in a workdir: trained, resumed, loaded again and scored."""
