"""Images that do not fit into the memory: predicted in bands of rows and strips of columns, or in tiles."""
