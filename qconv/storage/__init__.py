"""Where checkpoints lie.  A folder of this machine is one kind of place; code that reads knows ``Folder`` only."""

from qconv.storage.addresses import is_address, open_address
from qconv.storage.base import LARGEST_SMALL_FILE, ByteRange, FileIdentity, Folder, StoredFile, shown
from qconv.storage.layered import LayeredFolder
from qconv.storage.local import LocalFile, LocalFolder, is_inside, open_regular, read_small
from qconv.storage.read_ahead import ReadAhead, is_ranged, reading_ahead

__all__ = [
    "LARGEST_SMALL_FILE",
    "ByteRange",
    "FileIdentity",
    "Folder",
    "LayeredFolder",
    "LocalFile",
    "LocalFolder",
    "ReadAhead",
    "StoredFile",
    "is_address",
    "is_inside",
    "is_ranged",
    "open_address",
    "open_regular",
    "read_small",
    "reading_ahead",
    "shown",
]
