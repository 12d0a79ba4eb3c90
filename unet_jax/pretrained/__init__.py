"""The trained networks that the package ships, and the reader of their files."""
