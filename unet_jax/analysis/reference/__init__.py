"""The networks once more, in plain NumPy and float64, written from their definitions: what `certify` compares with.

Slow and short on purpose: each operator is the sum that defines it. Nothing of `unet_jax.models` is used; weights come as
nested dicts of arrays under the names that the papers give the nodes. A function `(variables, image, *, options)` gives the
logits of each head `[H, W, K]`, shallow to deep; `options` are fields of the network's class. Images are `[H, W, C]`,
kernels `[h, w, in, out]`.
"""
