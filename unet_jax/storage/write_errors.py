"""Turns the errors of disks and buckets into one-line errors for the user."""

import contextlib
import re
from collections.abc import Iterator

from unet_jax.errors import UserError

# How the messages of TensorStore, which writes arrays, begin when a bucket refuses.
_ARRAY_WRITER_REFUSED = re.compile(
    r"(PERMISSION_DENIED|UNAUTHENTICATED|UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED): .*gs://", re.DOTALL
)

# Only requests to a bucket raise errors of these packages.
_BUCKET_LIBRARIES = ("gcsfs.", "google.auth.", "google.api_core.", "aiohttp.", "requests.")


def translate_bucket_error(error: BaseException) -> UserError | None:
    """Returns the error for the user if a bucket refused or could not be reached, and None for any other error.

    Such an error has a class of gcsfs or of a package below it, or is an `OSError` that begins with "Forbidden: ", or is a
    `ValueError` of TensorStore. None of these means that the data are damaged.
    """
    if isinstance(error, FileNotFoundError) and error.__context__:
        # When an object is refused, gcsfs looks for a folder of that name and reports that it is missing.
        return translate_bucket_error(error.__context__)
    by_library = type(error).__module__.startswith(_BUCKET_LIBRARIES)
    forbidden = type(error) is OSError and str(error).startswith("Forbidden: ")
    by_array_writer = isinstance(error, ValueError) and _ARRAY_WRITER_REFUSED.match(str(error))
    if not (by_library or forbidden or by_array_writer):
        return None
    why = " ".join(str(error).partition(" [source ")[0].split()) or type(error).__name__
    return UserError(
        f"the bucket refuses access or cannot be reached ({why}); check the network, and check that the credentials are "
        "valid and may read, create and delete objects in the bucket"
    )


@contextlib.contextmanager
def report_write_errors() -> Iterator[None]:
    """Turns an `OSError` inside the context, or the refusal of a bucket, into a `UserError` that names the path.

    Raises:
      UserError: something could not be written.
    """
    try:
        yield
    except Exception as error:
        if bucket_error := translate_bucket_error(error):
            raise bucket_error from error
        if not isinstance(error, OSError):
            raise
        path, why = error.filename or "results", error.strerror or error
        raise UserError(f"{path}: cannot be written ({why}); write to another folder, or free some space") from error


def first_line(error: BaseException) -> str:
    r"""Returns the first line of an error's message, or the name of its class if it has no message.

    >>> first_line(ValueError("no such file\nat line 3")), first_line(ValueError())
    ('no such file', 'ValueError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]
