"""From records to frames: summaries, comparisons, the gate. No torch, no images, nothing drawn."""
