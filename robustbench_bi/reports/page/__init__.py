"""The report page: one file that needs no network."""
