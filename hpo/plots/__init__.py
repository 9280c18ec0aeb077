"""Figures of plotly about a study."""
