"""The demo: a clip with known ground truth, and a comparison of what was found with what is there."""
