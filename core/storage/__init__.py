"""Object storage behind one interface: `MinioStore` for many machines, `FolderStore` for one."""

from core.config import Settings
from core.storage.base import ObjectNotFound, ObjectStat, ObjectStore
from core.storage.folder import FolderStore
from core.storage.minio import MinioStore

__all__ = [
    "FolderStore",
    "MinioStore",
    "ObjectNotFound",
    "ObjectStat",
    "ObjectStore",
    "get_storage",
]


def get_storage(settings: Settings) -> ObjectStore:
    """Return the store that the settings name; nothing is connected or created yet."""
    if settings.storage_backend == "folder":
        return FolderStore(settings.objects_dir)
    return MinioStore(settings)
