"""Everything compiled: the arithmetic of Conv for many images at once. Skip it at first reading."""
