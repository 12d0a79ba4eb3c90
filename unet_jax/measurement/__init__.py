"""From masks to objects, and from objects to tables of numbers."""
