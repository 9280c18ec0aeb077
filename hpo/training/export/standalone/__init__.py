"""What an exported model's predict.py is made of, besides what its data module gives: NumPy and onnxruntime alone."""
