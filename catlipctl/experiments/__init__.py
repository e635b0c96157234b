"""What runs many of the other parts: the demo, sweeps, frontiers."""
