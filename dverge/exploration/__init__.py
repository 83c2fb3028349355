"""What a page shows of one image or pair: attacks examined, features distilled, regions mapped."""
