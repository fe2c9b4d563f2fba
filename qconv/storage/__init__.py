"""Where checkpoints lie.  A folder of this machine is one kind of place; code that reads knows ``Folder`` only."""

from qconv.storage.base import LARGEST_SMALL_FILE, FileIdentity, Folder, StoredFile
from qconv.storage.layered import LayeredFolder
from qconv.storage.local import LocalFile, LocalFolder, is_inside, open_regular, read_small

__all__ = [
    "LARGEST_SMALL_FILE",
    "FileIdentity",
    "Folder",
    "LayeredFolder",
    "LocalFile",
    "LocalFolder",
    "StoredFile",
    "is_inside",
    "open_regular",
    "read_small",
]
