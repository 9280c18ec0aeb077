"""Predicts new data with a trained model and what its data module has fitted."""
