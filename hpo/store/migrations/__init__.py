"""The history of our own tables (not Optuna's), applied by `hpo.store.schema`: 0001, 0002, ..."""
