"""Reads new data with NumPy alone: an exported model's predict.py is made of these files (docs/export.md).

A data module names one of them as its `standalone`. Its function `read(source, state)` gives what `new_data` gives,
from the same state: `inputs`, a tuple of arrays (samples, ...) or an iterator of such batches, and `rows`, `remarks`,
`steps` and `reference` as of models.data.new_data:NewData. What it cannot read it refuses, and never takes for
something else. Names are unique among these files, since predict.py has them in one.
"""
