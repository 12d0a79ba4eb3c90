"""Errors of disks and buckets, turned into the one-line errors of a user."""

import contextlib
import re

from unet_jax.errors import UserError

# What the writer of arrays says of a bucket that it was kept from.
_KEPT_FROM = re.compile(
    r"(PERMISSION_DENIED|UNAUTHENTICATED|UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED): .*gs://", re.DOTALL
)

_LIBRARIES = ("gcsfs.", "google.auth.", "google.api_core.", "aiohttp.", "requests.")  # nothing else here asks by them


def translate_bucket_error(error: BaseException) -> UserError | None:
    """What to tell where a bucket has refused, or cannot be reached; None for an error of any other kind.

    The libraries below have kinds of their own for it: gcsfs and those it asks by, an `OSError` that begins with
    "Forbidden: ", and a `ValueError` from the writer of arrays. Of the data it says nothing: they may be whole.
    """
    if isinstance(error, FileNotFoundError) and error.__context__:  # gcsfs: refused the object, it looks for a folder
        return translate_bucket_error(error.__context__)
    library = type(error).__module__.startswith(_LIBRARIES)
    forbidden = type(error) is OSError and str(error).startswith("Forbidden: ")
    if not (library or forbidden or (isinstance(error, ValueError) and _KEPT_FROM.match(str(error)))):
        return None
    why = " ".join(str(error).partition(" [source ")[0].split()) or type(error).__name__
    return UserError(
        f"the bucket refuses, or cannot be reached ({why}); check the network, and that the credentials are valid and may "
        "read, create and delete objects there"
    )


@contextlib.contextmanager
def report_write_errors():
    """Turns an `OSError` of what is done inside into a `UserError` that names the path, and so what a bucket refuses."""
    try:
        yield
    except Exception as error:
        if told := translate_bucket_error(error):
            raise told from error
        if not isinstance(error, OSError):
            raise
        path, why = error.filename or "results", error.strerror or error
        raise UserError(f"{path}: cannot be written ({why}); write to another folder, or make room") from error
