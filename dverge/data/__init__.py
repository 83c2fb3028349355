"""CIFAR-10: get it, verify it, split it, batch it; the bundled sample; pictures of one's own."""

from dverge.data.background import BackgroundObtain, ObtainSnapshot, ObtainState
from dverge.data.batches import Augmentation, Stream
from dverge.data.images import CLASSES, ImageSet, Split
from dverge.data.loading import load
from dverge.data.obtaining import obtain
from dverge.data.picture import read_picture
from dverge.data.store import data_folder, full_data_available

__all__ = [
    "CLASSES",
    "Augmentation",
    "BackgroundObtain",
    "ImageSet",
    "ObtainSnapshot",
    "ObtainState",
    "Split",
    "Stream",
    "data_folder",
    "full_data_available",
    "load",
    "obtain",
    "read_picture",
]
