"""CIFAR-10: download, verify, split and batch it; the bundled sample; a user's own pictures."""

from dverge.data.background import BackgroundObtain, ObtainSnapshot, ObtainState
from dverge.data.batches import Augmentation, Stream
from dverge.data.images import CLASSES, ImageSet, Split
from dverge.data.obtaining import obtain
from dverge.data.picture import read_picture, to_8_bits
from dverge.data.store import data_folder, full_data_available, load

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
    "to_8_bits",
]
