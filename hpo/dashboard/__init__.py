"""Serves optuna-dashboard for a store."""
