"""Changes training windows at random, in JAX on the device."""
