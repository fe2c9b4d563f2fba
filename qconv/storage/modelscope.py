"""Models on ModelScope, by the same reader as the Hub's.

Its interface: ``/api/v1/models/NAME/repo/files`` lists, ``/api/v1/models/NAME/repo`` gives a file; a token is sent as a
cookie too.  ``MODELSCOPE_ENDPOINT`` and ``MODELSCOPE_API_TOKEN`` are those of its own library (modelscope_hub 0.5).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import msgspec

from qconv import __version__
from qconv.errors import InputError, UsageError
from qconv.storage.base import Folder
from qconv.storage.http import Web, session
from qconv.storage.hub import Address
from qconv.storage.interface import ask
from qconv.storage.repository import Entry, RepositoryFolder, folder_and_file

if TYPE_CHECKING:
    from httpx2 import Response

SCHEME = "ms://"
_ENDPOINT = "https://www.modelscope.cn"
_REVISION = "master"
_LISTED = 3000
"""Files after which the interface cuts its list off, and does not say so."""


class _Listed(msgspec.Struct, rename="pascal"):
    """A file or a folder as ModelScope lists it."""

    path: str
    type: str = ""
    size: int = -1
    revision: str | None = None
    sha256: str | None = None


class _Data(msgspec.Struct, rename="pascal"):
    files: list[_Listed]


class _Answer(msgspec.Struct, rename="pascal"):
    data: _Data


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
    path, name = folder_and_file(address.path, entries, SCHEME + text)
    revision = f"@{quote(address.revision, safe='')}" if address.revision else ""
    root = f"{SCHEME}{address.repository}{revision}"
    return RepositoryFolder(root, address.repository.rpartition("/")[2], path, entries, web), name


def _entries(web: Web, files: str, location: str, revision: str) -> dict[str, Entry]:
    query = urlencode({"Revision": revision, "Recursive": "True"})
    listed = ask(web, f"{files}/files?{query}", location, _Answer)[0].data.files
    if len(listed) >= _LISTED:
        hint = "download it with ModelScope's own tool"
        raise InputError(
            f"holds {_LISTED:,} files or more, which ModelScope does not list whole", file=location, hint=hint
        )
    entries = {}
    for file in listed:
        if file.type == "tree" or file.size < 0:
            continue
        commit = file.revision or revision  # that gave it its contents, which pins them
        known = file.sha256 if file.sha256 and len(file.sha256) == 64 else None
        url = f"{files}?{urlencode({'Revision': commit, 'FilePath': file.path})}"
        entries[file.path] = Entry(file.size, f"{commit} {known or ''}", url, known)
    return entries
