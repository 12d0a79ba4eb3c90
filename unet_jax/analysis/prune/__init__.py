"""How far a trained U-Net++ can be pruned: every level scored and timed, and one of them made a workdir of its own."""
