"""Models on the Hugging Face Hub, read where they are: at one commit, without a copy on this machine.

huggingface_hub tells the commit and its files, and who asks (``HF_TOKEN`` or its stored login).  ``HF_ENDPOINT`` names
another Hub, ``HF_HUB_OFFLINE`` keeps to what its cache holds.  Files that are in the cache are read from there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import quote, unquote

from qconv import __version__
from qconv.errors import InputError, UsageError
from qconv.storage.base import FileIdentity, Folder, StoredFile
from qconv.storage.http import Again, Attempts, Web, retry_after, session
from qconv.storage.local import LocalFile, LocalFolder, is_inside
from qconv.storage.repository import Entry, RepositoryFolder, folder_and_file

if TYPE_CHECKING:
    from httpx2 import Response

SCHEME = "hf://"
_NAME = r"[A-Za-z0-9][\w.-]*"
_ADDRESS = re.compile(
    rf"(?P<repository>{_NAME}/{_NAME})(?:@(?P<revision>refs/(?:pr|convert)/[^/@]+|[^/@]+))?(?:/(?P<path>.+?))?/?"
)
_MOST_FILES = 200_000
_LOGIN = "set HF_TOKEN or run 'hf auth login'"

T = TypeVar("T")


class Address(NamedTuple):
    """A repository, its revision (None: the newest), and a path in it (empty: all of it)."""

    repository: str
    revision: str | None
    path: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """What follows ``hf://``: ``ORG/NAME[@REVISION][/PATH]``; raises UsageError."""
        match = _ADDRESS.fullmatch(text)
        path = (match["path"] or "") if match else ""
        if match is None or (path and not is_inside(path)):
            hint = "write it as hf://ORG/NAME or hf://ORG/NAME@REVISION"
            raise UsageError("is not an address of a model", file=SCHEME + text, hint=hint)
        return cls(match["repository"], unquote(match["revision"]) if match["revision"] else None, path)


class HubFolder(RepositoryFolder):
    """A ``Folder`` on the Hub.  ``keep``: what is opened is downloaded into huggingface_hub's cache first."""

    def __init__(
        self, address: Address, commit: str, entries: Mapping[str, Entry], web: Web, endpoint: str, *, keep: bool
    ) -> None:
        revision = f"@{quote(address.revision, safe='')}" if address.revision else ""
        name = address.repository.rpartition("/")[2]
        super().__init__(f"{SCHEME}{address.repository}{revision}", name, address.path, entries, web)
        self._repository = address.repository
        self._commit = commit
        self._endpoint = endpoint
        self._keep = keep

    def _open_entry(self, path: str, entry: Entry) -> StoredFile:
        cached = self._downloaded(path) if self._keep else self._cached(path, entry.size)
        if cached is not None:
            return _CachedFile(cached, f"{self._root}/{path}", entry.version, entry.sha256)
        return super()._open_entry(path, entry)

    def _cached(self, path: str, size: int) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(self._repository, path, revision=self._commit)
        if not isinstance(cached, str):
            return None
        try:
            return Path(cached) if Path(cached).stat().st_size == size else None
        except OSError:
            return None

    def _downloaded(self, path: str) -> Path:
        from huggingface_hub import hf_hub_download

        def download() -> str:
            return hf_hub_download(self._repository, path, revision=self._commit, endpoint=self._endpoint)

        return Path(_ask(f"{self._root}/{path}", page(self._endpoint, self._repository), download))


class _CachedFile(LocalFile):
    """A file of the Hub that lies in its cache: its identity is that on the Hub."""

    def __init__(self, path: Path, location: str, version: str, sha256: str | None) -> None:
        super().__init__(path)
        self._location = location
        self._version = version
        self._sha256 = sha256

    @property
    def location(self) -> str:
        return self._location

    @property
    def sha256(self) -> str | None:
        return self._sha256

    def identity(self) -> FileIdentity:
        return FileIdentity(self._location, self.size, self._version)


def open_hub(text: str, *, keep: bool) -> tuple[Folder, str | None]:
    """The folder that an address (without its ``hf://``) names, and the file in it when it names one.

    Raises UsageError for what is not an address or without huggingface_hub, InputError when there is no such model, it
    may not be read, or the Hub cannot be reached.
    """
    address = Address.parse(text)
    session()
    from huggingface_hub import HfApi, RepoFile, constants, get_token

    if constants.is_offline_mode():
        return _offline(address)
    api = HfApi()
    here, shown = SCHEME + text, page(api.endpoint, address.repository)
    commit = _ask(here, shown, lambda: api.model_info(address.repository, revision=address.revision).sha)
    if commit is None:
        raise InputError("has no commit", file=here)

    files = f"{api.endpoint}/{address.repository}/resolve/{commit}"

    def tree() -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for entry in api.list_repo_tree(address.repository, recursive=True, revision=commit):
            if isinstance(entry, RepoFile):
                url, lfs = f"{files}/{quote(entry.path)}", entry.lfs
                if lfs is None:
                    entries[entry.path] = Entry(entry.size, f"{commit} {entry.blob_id}", url)
                else:
                    entries[entry.path] = Entry(lfs.size, f"{commit} {lfs.sha256}", url, lfs.sha256, True)
            if len(entries) > _MOST_FILES:
                raise InputError(f"holds more than {_MOST_FILES:,} files", file=here)
        return entries

    entries = _ask(here, shown, tree)
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    asking = {"User-Agent": f"qconv/{__version__}"} | ({"Authorization": f"Bearer {token}"} if token else {})
    web = Web(asking, api.endpoint, lambda at, answer: _refused(at, shown, answer))
    path, name = folder_and_file(address.path, entries)
    return HubFolder(address._replace(path=path), commit, entries, web, api.endpoint, keep=keep), name


def page(endpoint: str, repository: str) -> str:
    """Where a person reads about a model."""
    return f"{endpoint}/{repository}"


def _offline(address: Address) -> tuple[Folder, str | None]:
    """What the cache holds of a model."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(address.repository, revision=address.revision, local_files_only=True))
    except OSError as e:
        hint = "unset HF_HUB_OFFLINE, or convert it once with --keep-download"
        raise InputError("is not in the cache", file=SCHEME + address.repository, hint=hint) from e
    if (folder / address.path).is_dir():
        return LocalFolder(folder / address.path), None
    inside, _, name = address.path.rpartition("/")
    return LocalFolder(folder / inside), name


def _ask(location: str, shown: str, do: Callable[[], T]) -> T:
    """What huggingface_hub answers; tries again where that helps.  ``shown``: the model's page."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RevisionNotFoundError

    attempts = Attempts(location)
    while True:
        try:
            try:
                return do()
            except HFValidationError:
                raise UsageError("is not an address of a model", file=location) from None
            except RevisionNotFoundError:
                hint = f"look at {shown} for its branches, tags and commits"
                raise InputError("has no such revision", file=location, hint=hint) from None
            except HfHubHTTPError as e:
                status = e.response.status_code
                if status == 429 or status >= 500:
                    raise Again(f"the Hub answers {status}", retry_after(e.response.headers)) from None
                raise _refused(location, shown, e.response) from None
            except httpx2.TransportError as e:
                # nothing has been read yet: whoever mistyped a folder's name, or has no network, is not kept waiting
                raise Again(f"the Hub cannot be reached ({type(e).__name__})", most=3) from None
            except OSError as e:  # of downloading: a full disk, an answer that is not the Hub's
                raise InputError(f"cannot be downloaded: {e.strerror or type(e).__name__}", file=location) from None
        except Again as e:
            attempts.after(e)


def _refused(location: str, shown: str, answer: Response) -> InputError:
    """Why the Hub gives nothing, and the page where that can be changed."""
    code = answer.headers.get("x-error-code")
    if code == "GatedRepo":
        hint = f"accept its licence on {shown}, then {_LOGIN}"
        return InputError("is gated: only who has accepted its licence may read it", file=location, hint=hint)
    if answer.status_code in (401, 403, 404):
        hint = f"look at {shown}; for a private model {_LOGIN}"
        return InputError("is not on the Hub, or private", file=location, hint=hint)
    return InputError(f"cannot be read: the Hub answers {answer.status_code}", file=location, hint=f"see {shown}")
