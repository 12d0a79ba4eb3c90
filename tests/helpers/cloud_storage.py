"""A Cloud Storage on this machine: `python cloud_storage.py PORT BUCKET` serves an empty bucket until it is ended.

It is gcp-storage-emulator with what that lacks, and what the writer of checkpoints relies on: the generation of an object
in the answer, and conditions on it (`ifGenerationMatch`, `ifGenerationNotMatch`).

While it holds an object named `forbidden`, every other one whose name contains that one's text is refused (403).
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
        return "0"  # what no object has


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
        asked = {
            key: request.query[key][0] for key in ("ifGenerationMatch", "ifGenerationNotMatch") if key in request.query
        }
        there = _generation(request, storage) if asked or request.query.get("alt") == ["media"] else ""
        if asked.get("ifGenerationMatch", there) != there:
            response.status = HTTPStatus.PRECONDITION_FAILED
        elif asked.get("ifGenerationNotMatch") == there != "":
            response.status = HTTPStatus.NOT_MODIFIED
        else:
            if there not in ("", "0"):
                response["x-goog-generation"] = there
            handle(request, response, storage, *args, **kwargs)

    return conditioned


def main(port: int, bucket: str) -> None:
    for name in ("download", "insert", "delete", "get"):
        setattr(objects, name, _conditional(getattr(objects, name)))
    from gcp_storage_emulator.server import create_server  # it takes the handlers as they are by now

    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=bucket)
    server.start()
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
