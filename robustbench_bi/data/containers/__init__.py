"""Where images lie: folders of image files."""
