"""Hyperparameter optimization for PyTorch: from a study file to its best model in one command."""
