"""Synthetic edge-on X-rays of a stacked battery: geometry, physics, data set."""
