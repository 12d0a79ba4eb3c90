"""A bucket that a server on this machine gives; see `cloud_storage.py`."""

import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest


@contextlib.contextmanager
def served_bucket():
    """Yields the address of an empty bucket, which the libraries of Cloud Storage find meanwhile."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(__file__).with_name("cloud_storage.py")
    server = subprocess.Popen([sys.executable, program, str(port), "bucket"], stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            # Read by gcsfs and Google's library.
            patch.setenv("STORAGE_EMULATOR_HOST", address)
            # Read by the writer of the arrays.
            patch.setenv("TENSORSTORE_GCS_HTTP_URL", address)
            # There are no credentials.
            patch.setenv("GCE_METADATA_ROOT", "127.0.0.1:1")
            patch.setenv("NO_GCE_CHECK", "true")
            patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
            for _ in range(200):
                with socket.socket() as asked:
                    if asked.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield "gs://bucket"
    finally:
        server.kill()
        server.wait()
