"""Sets the environment variables that compiling for absent TPUs needs."""

import os


def expect_no_tpu() -> None:
    """Stops JAX from looking for TPUs; call it before JAX is imported to compile for TPUs on a machine without any.

    Without it, JAX finds the TPU compiler installed, looks for TPUs, and waits for a cloud that does not answer.
    """
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
