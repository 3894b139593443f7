"""What everything else stands on: cells, tables of rows, files that are whole or absent."""
