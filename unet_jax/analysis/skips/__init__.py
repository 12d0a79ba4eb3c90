"""What the skip connections of trained networks are good for: place, boundaries, and maps that fit each other."""
