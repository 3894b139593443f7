"""The classes that answers are among."""
