"""The page that shows an analyst a dataset: read once and aggregated, then drawn by a plotting library inside the page."""
