"""Pictures of masks over images."""
