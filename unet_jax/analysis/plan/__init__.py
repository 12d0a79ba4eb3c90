"""What a run will cost before a machine is rented: memory, time and scaling of its training step, compiled and not run."""

import os


def expect_no_tpu() -> None:
    """To be called before JAX is imported, where TPUs are compiled for that are not there.

    Else JAX, which finds their compiler installed, looks for them and asks a cloud that does not answer.
    """
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
