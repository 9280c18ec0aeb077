"""The server: pages, an interface for programs, metrics, and optuna-dashboard, in one application."""
