"""Models on ModelScope, by the same reader as the Hub's.

Its interface: ``/api/v1/models/NAME/repo/files`` lists, ``/api/v1/models/NAME/repo`` gives a file; a token is sent as a
cookie too.  ``MODELSCOPE_ENDPOINT`` and ``MODELSCOPE_API_TOKEN`` are those of its own library (modelscope_hub 0.5).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from qconv import __version__
from qconv.errors import FormatError, InputError, UsageError
from qconv.storage.base import Folder
from qconv.storage.http import AGAIN, Again, Attempts, Web, chunks, retry_after, session
from qconv.storage.hub import Address
from qconv.storage.repository import Entry, RepositoryFolder, folder_and_file

if TYPE_CHECKING:
    from httpx2 import Response

SCHEME = "ms://"
_ENDPOINT = "https://www.modelscope.cn"
_REVISION = "master"
_LARGEST_LIST = 64 << 20
_LISTED = 3000
"""Files after which the interface cuts its list off, and does not say so."""


def open_modelscope(text: str) -> tuple[Folder, str | None]:
    """The folder that an address (without its ``ms://``) names, and the file in it when it names one.

    Raises UsageError for what is not an address, InputError when there is no such model or it may not be read.
    """
    try:
        address = Address.parse(text)
    except UsageError as e:
        e.file, e.hint = SCHEME + text, "write it as ms://ORG/NAME or ms://ORG/NAME@REVISION"
        raise
    session()
    endpoint = os.environ.get("MODELSCOPE_ENDPOINT", "").rstrip("/") or _ENDPOINT
    token = os.environ.get("MODELSCOPE_API_TOKEN")
    secret = {"Authorization": f"Bearer {token}", "Cookie": f"m_session_id={token}"} if token else {}
    page = f"{endpoint}/models/{address.repository}"

    def refused(location: str, answer: Response) -> InputError:
        hint = f"look at {page}; for a private model set MODELSCOPE_API_TOKEN"
        return InputError("is not on ModelScope, or private", file=location, hint=hint)

    web = Web({"User-Agent": f"qconv/{__version__}", **secret}, endpoint, refused)
    files = f"{endpoint}/api/v1/models/{address.repository}/repo"
    entries = _entries(web, files, SCHEME + text, address.revision or _REVISION)
    path, name = folder_and_file(address.path, entries)
    revision = f"@{quote(address.revision, safe='')}" if address.revision else ""
    root = f"{SCHEME}{address.repository}{revision}"
    return RepositoryFolder(root, address.repository.rpartition("/")[2], path, entries, web), name


def _entries(web: Web, files: str, location: str, revision: str) -> dict[str, Entry]:
    listed = _list(web, f"{files}/files?{urlencode({'Revision': revision, 'Recursive': 'True'})}", location)
    if len(listed) >= _LISTED:
        hint = "download it with ModelScope's own tool"
        raise InputError(
            f"holds {_LISTED:,} files or more, which ModelScope does not list whole", file=location, hint=hint
        )
    entries = {}
    for file in listed:
        path, size = file.get("Path"), file.get("Size")
        if file.get("Type") == "tree" or not isinstance(path, str) or not isinstance(size, int) or size < 0:
            continue
        # the commit that gave a file its contents pins them
        commit = str(file.get("Revision") or revision)
        sha256 = file.get("Sha256")
        known = sha256 if isinstance(sha256, str) and len(sha256) == 64 else None
        url = f"{files}?{urlencode({'Revision': commit, 'FilePath': path})}"
        entries[path] = Entry(size, f"{commit} {known or ''}", url, known)
    return entries


def _list(web: Web, url: str, location: str) -> list[dict[str, Any]]:
    attempts = Attempts(location)
    while True:
        try:
            value = _json(web, url, location)
            break
        except Again as e:
            attempts.after(e)
    files = value.get("Data", {}).get("Files") if isinstance(value.get("Data"), Mapping) else None
    if not isinstance(files, list):
        raise FormatError("is listed by ModelScope in a way qconv does not know", file=location)
    return [file for file in files if isinstance(file, dict)]


def _json(web: Web, url: str, location: str) -> dict[str, Any]:
    response = web.send(url, {})
    try:
        if response.status_code in AGAIN:
            raise Again(f"ModelScope answers {response.status_code}", retry_after(response.headers))
        if response.status_code != 200:
            raise web.refused(location, response)
        data = bytearray()
        for chunk in chunks(response):
            data += chunk
            if len(data) > _LARGEST_LIST:
                raise FormatError(f"has a list of files of more than {_LARGEST_LIST} bytes", file=location)
    finally:
        response.close()
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise Again("ModelScope answers with something else than JSON") from None
    return value if isinstance(value, dict) else {}
