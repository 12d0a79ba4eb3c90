"""What a run records while it trains: rows, curves, progress, TensorBoard, traces."""
