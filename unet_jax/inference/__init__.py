"""From a trained network and images to probabilities and masks, in memory and as files."""
