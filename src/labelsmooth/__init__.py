"""labelsmooth."""
