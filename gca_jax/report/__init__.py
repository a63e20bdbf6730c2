"""Tables and pictures from what a run wrote; nothing here trains or touches the data."""
