"""Conversion: the sink that writes.  Part files, the journal that makes an interrupted run resumable, the renaming."""

from qconv.conversion.disk import Disk
from qconv.conversion.hashes import sha256
from qconv.conversion.manifest import Manifest
from qconv.conversion.manifest import path_of as manifest_path
from qconv.conversion.manifest import read as read_manifest
from qconv.conversion.writer import Result, finish, run

__all__ = ["Disk", "Manifest", "Result", "finish", "manifest_path", "read_manifest", "run", "sha256"]
