"""Training: the recipe (what is done), the augmentation, and the loop (how it is run)."""
