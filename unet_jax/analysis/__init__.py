"""What a trained run is worth and what it costs: programs that look at it, beside training and evaluation."""
