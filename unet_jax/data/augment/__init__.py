"""Random changes of one training window, in JAX on the device."""
