"""Turns what annotation tools write (polygons, run lengths, boxes) into a folder of images, masks and instances."""
