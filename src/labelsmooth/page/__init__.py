"""What you play with: one HTML file that explains label smoothing on somebody's own logits."""
