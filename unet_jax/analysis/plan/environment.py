"""The environment variables that compiling for absent TPUs needs."""

import os


def expect_no_tpu() -> None:
    """Keeps JAX from looking for TPUs; call it before JAX is imported, where a step is compiled for TPUs without having any.

    JAX would find their compiler installed, look for them, and ask a cloud that does not answer.
    """
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
