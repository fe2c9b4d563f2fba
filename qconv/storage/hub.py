"""Models on the Hugging Face Hub, read where they are: at one commit, without a copy on this machine.

huggingface_hub tells the commit and its files, and who asks (``HF_TOKEN`` or its stored login).  ``HF_ENDPOINT`` names
another Hub, ``HF_HUB_OFFLINE`` keeps to what its cache holds.  Files that are in the cache are read from there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

import msgspec

from qconv import __version__
from qconv.errors import InputError, UsageError
from qconv.storage.base import FileIdentity, Folder, StoredFile
from qconv.storage.http import Web, session
from qconv.storage.interface import ask
from qconv.storage.local import LocalFile, LocalFolder, is_inside
from qconv.storage.repository import Entry, RepositoryFolder, folder_and_file
from qconv.storage.retries import AGAIN, Again, Attempts, retry_after

if TYPE_CHECKING:
    from httpx2 import Response

SCHEME = "hf://"
_NAME = r"[A-Za-z0-9][\w.-]*"
_ADDRESS = re.compile(
    rf"(?P<repository>{_NAME}/{_NAME})(?:@(?P<revision>refs/(?:pr|convert)/[^/@]+|[^/@]+))?(?:/(?P<path>.+?))?/?"
)
_MOST_FILES = 200_000
_LOGIN = "set HF_TOKEN or run 'hf auth login'"


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


class _About(msgspec.Struct):
    """What the Hub tells of a model at a revision."""

    sha: str


class _Lfs(msgspec.Struct):
    oid: str
    size: int


class _Listed(msgspec.Struct):
    """A file or a folder as the Hub lists it."""

    type: str
    path: str
    size: int = 0
    oid: str = ""
    lfs: _Lfs | None = None


class HubFolder(RepositoryFolder):
    """A ``Folder`` on the Hub.  ``keep``: what is opened is downloaded into huggingface_hub's cache first."""

    def __init__(
        self, address: Address, commit: str, entries: Mapping[str, Entry], web: Web, endpoint: str, *, keep: bool
    ) -> None:
        revision = f"@{quote(address.revision, safe='')}" if address.revision else ""
        name = address.repository.rpartition("/")[2]
        super().__init__(f"{SCHEME}{address.repository}{revision}", name, address.path, entries, web)
        self._repository = address.repository
        self._revision, self._commit = address.revision or "main", commit
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

    def _remember(self, cached: Path) -> None:
        """Notes which commit was asked for, as huggingface_hub does: offline it is found by that."""
        if self._revision == self._commit:
            return
        ref = cached / "refs" / self._revision
        with suppress(OSError):  # the download is there all the same
            ref.parent.mkdir(parents=True, exist_ok=True)
            ref.write_text(self._commit)

    def _downloaded(self, path: str) -> Path:
        import httpx2
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.utils.tqdm import tqdm

        class Bar(tqdm):
            """Has the file's name, where huggingface_hub's own may have a piece of the signed address."""

            def __init__(self, *arguments: Any, **options: Any) -> None:
                options["desc"] = path
                super().__init__(*arguments, **options)  # type: ignore[no-untyped-call]  # it has no annotations

        revision, endpoint = self._commit, self._endpoint
        location, shown = f"{self._root}/{path}", page(endpoint, self._repository)
        attempts = Attempts(location)
        while True:
            try:
                file = hf_hub_download(self._repository, path, revision=revision, endpoint=endpoint, tqdm_class=Bar)
                self._remember(Path(file).parents[path.count("/") + 2])
                return Path(file)
            except httpx2.TransportError as e:
                attempts.after(Again(f"the Hub cannot be reached ({type(e).__name__})"))
            except HfHubHTTPError as e:
                if e.response.status_code not in AGAIN:
                    raise _refused(location, shown, e.response) from None
                attempts.after(Again(f"the Hub answers {e.response.status_code}", retry_after(e.response.headers)))
            except OSError as e:  # a full disk, an answer that is not the Hub's
                raise InputError(f"cannot be downloaded: {e.strerror or type(e).__name__}", file=location) from None


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
    from huggingface_hub import constants, get_token

    if constants.is_offline_mode():
        return _offline(address)
    endpoint = constants.ENDPOINT
    here, shown = SCHEME + text, page(endpoint, address.repository)
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    asking = {"User-Agent": f"qconv/{__version__}"} | ({"Authorization": f"Bearer {token}"} if token else {})
    web = Web(asking, endpoint, lambda at, answer: _refused(at, shown, answer))
    interface = f"{endpoint}/api/models/{address.repository}"
    revision = f"/revision/{quote(address.revision, safe='')}" if address.revision else ""
    commit = ask(web, interface + revision, here, _About)[0].sha
    files = f"{endpoint}/{address.repository}/resolve/{commit}"
    entries = _entries(web, f"{interface}/tree/{commit}?recursive=true", here, commit, files)
    path, name = folder_and_file(address.path, entries, here)
    return HubFolder(address._replace(path=path), commit, entries, web, endpoint, keep=keep), name


def _entries(web: Web, url: str | None, here: str, commit: str, files: str) -> dict[str, Entry]:
    """All files at a commit, by their paths; ``url``: of the list's first page, ``files``: what is before a path."""
    entries: dict[str, Entry] = {}
    while url is not None:
        listed, url = ask(web, url, here, list[_Listed])
        for each in listed:
            if each.type != "file":
                continue
            at = f"{files}/{quote(each.path)}"
            if each.lfs is None:
                entries[each.path] = Entry(each.size, f"{commit} {each.oid}", at)
            else:
                entries[each.path] = Entry(each.lfs.size, f"{commit} {each.lfs.oid}", at, each.lfs.oid, True)
        if len(entries) > _MOST_FILES:
            raise InputError(f"holds more than {_MOST_FILES:,} files", file=here)
    return entries


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


def _refused(location: str, shown: str, answer: Response) -> InputError:
    """Why the Hub gives nothing, and the page where that can be changed."""
    code = answer.headers.get("x-error-code")
    if code == "GatedRepo":
        hint = f"accept its licence on {shown}, then {_LOGIN}"
        return InputError("is gated: only who has accepted its licence may read it", file=location, hint=hint)
    if code == "RevisionNotFound":
        hint = f"look at {shown} for its branches, tags and commits"
        return InputError("has no such revision", file=location, hint=hint)
    if answer.status_code in (401, 403, 404):
        hint = f"look at {shown}; for a private model {_LOGIN}"
        return InputError("is not on the Hub, or private", file=location, hint=hint)
    return InputError(f"cannot be read: the Hub answers {answer.status_code}", file=location, hint=f"see {shown}")
