"""Data sets: from files on disk to labelled uint8 images in memory."""
