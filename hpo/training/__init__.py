"""The code of trial processes: the only part of the engine that imports torch and Lightning."""
