"""The notebook's magic, live view and export; nothing here measures."""
