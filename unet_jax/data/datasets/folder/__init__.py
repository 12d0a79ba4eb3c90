"""Pairs the files of a folder of images: by their names, and page by page."""
