"""What lies on disk: a run's configuration and its records. Evaluation and analysis meet here; no torch."""
