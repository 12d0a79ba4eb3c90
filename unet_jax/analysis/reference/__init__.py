"""Computes the networks in plain NumPy and float64, written from their definitions; `certify` compares with them.

They are slow and short on purpose: each operator is the sum that defines it. Nothing of `unet_jax.models` is used.

A function `(variables, image, *, options)` returns the logits of each head `[H, W, K]`, shallow to deep. `variables` are
nested dicts of arrays under the papers' names of the nodes, `options` are fields of the network's class. Images are
`[H, W, C]`, kernels `[h, w, in, out]`.
"""
