"""Session-wide versions of the small ensemble and its images."""

from tests.exploration.examples import either, ensemble, images, labels, pair

__all__ = ["either", "ensemble", "images", "labels", "pair"]
