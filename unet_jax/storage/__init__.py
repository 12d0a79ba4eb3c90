"""Paths of disks and buckets, JSON files, digests, and the errors of writing."""
