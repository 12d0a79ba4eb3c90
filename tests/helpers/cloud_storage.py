"""Serves an empty Cloud Storage bucket on this machine until it is killed: `python cloud_storage.py PORT BUCKET`.

It is gcp-storage-emulator with two additions that the writer of checkpoints needs: the answer holds the generation of an
object, and a request may set a condition on it (`ifGenerationMatch`, `ifGenerationNotMatch`).

If the bucket has an object named `forbidden`, every other object whose name contains the text of `forbidden` is refused
(403).
"""

import sys
import threading
from http import HTTPStatus

from gcp_storage_emulator.handlers import objects


def _name(request) -> str:
    given = request.query.get("name") or [request.data["meta"]["name"] if "object_id" not in request.params else ""]
    return request.params.get("object_id", given[0])


def _generation(request, storage) -> str:
    try:
        return storage.get_file_obj(request.params["bucket_name"], _name(request))["generation"]
    except Exception:
        # No object has the generation 0.
        return "0"


def _forbidden(request, storage) -> bool:
    try:
        text = storage.get_file(request.params["bucket_name"], "forbidden").decode()
    except Exception:
        return False
    return _name(request) != "forbidden" and text in _name(request)


def _conditional(handle):
    def conditioned(request, response, storage, *args, **kwargs):
        if _forbidden(request, storage):
            response.status = HTTPStatus.FORBIDDEN
            return
        conditions = {
            key: request.query[key][0] for key in ("ifGenerationMatch", "ifGenerationNotMatch") if key in request.query
        }
        generation = _generation(request, storage) if conditions or request.query.get("alt") == ["media"] else ""
        if conditions.get("ifGenerationMatch", generation) != generation:
            response.status = HTTPStatus.PRECONDITION_FAILED
        elif conditions.get("ifGenerationNotMatch") == generation != "":
            response.status = HTTPStatus.NOT_MODIFIED
        else:
            if generation not in ("", "0"):
                response["x-goog-generation"] = generation
            handle(request, response, storage, *args, **kwargs)

    return conditioned


def main(port: int, bucket: str) -> None:
    for name in ("download", "insert", "delete", "get"):
        setattr(objects, name, _conditional(getattr(objects, name)))
    # Imported only now: the server takes the handlers as they are when it is imported.
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=bucket)
    server.start()
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
