"""From what lies beside the images to their labels."""
