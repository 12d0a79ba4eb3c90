"""Turns the errors of disks and buckets into one-line errors for the user."""

import contextlib
import re

from unet_jax.errors import UserError

# The messages of the library that writes arrays, where a bucket refuses.
_ARRAY_WRITER_REFUSED = re.compile(
    r"(PERMISSION_DENIED|UNAUTHENTICATED|UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED): .*gs://", re.DOTALL
)

# Only requests to a bucket raise errors of these packages.
_BUCKET_LIBRARIES = ("gcsfs.", "google.auth.", "google.api_core.", "aiohttp.", "requests.")


def translate_bucket_error(error: BaseException) -> UserError | None:
    """Returns the user's error where a bucket refuses or cannot be reached; None for any other error.

    It may be an error class of gcsfs or of a package below it, an `OSError` that begins with "Forbidden: ", or a
    `ValueError` of the library that writes arrays. None of them says that the data are damaged.
    """
    if isinstance(error, FileNotFoundError) and error.__context__:
        # Refused an object, gcsfs looks for a folder of that name.
        return translate_bucket_error(error.__context__)
    by_library = type(error).__module__.startswith(_BUCKET_LIBRARIES)
    forbidden = type(error) is OSError and str(error).startswith("Forbidden: ")
    by_array_writer = isinstance(error, ValueError) and _ARRAY_WRITER_REFUSED.match(str(error))
    if not (by_library or forbidden or by_array_writer):
        return None
    why = " ".join(str(error).partition(" [source ")[0].split()) or type(error).__name__
    return UserError(
        f"the bucket refuses, or cannot be reached ({why}); check the network, and that the credentials are valid and may "
        "read, create and delete objects there"
    )


@contextlib.contextmanager
def report_write_errors():
    """Turns an `OSError` inside the context, or the refusal of a bucket, into a `UserError` that names the path."""
    try:
        yield
    except Exception as error:
        if bucket_error := translate_bucket_error(error):
            raise bucket_error from error
        if not isinstance(error, OSError):
            raise
        path, why = error.filename or "results", error.strerror or error
        raise UserError(f"{path}: cannot be written ({why}); write to another folder, or make room") from error


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its class where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
