"""What smoothing does to a model's probabilities: measures, temperature, selection, and the answer to "should I smooth?"."""
