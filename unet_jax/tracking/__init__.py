"""Records of a training run: metrics, curves, progress bar, TensorBoard, traces."""
