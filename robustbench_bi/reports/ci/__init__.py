"""What continuous integration reads of the gate."""
