"""What smoothing does: calibration and temperature on your own logits, and a study on real images."""
