"""What runs in the trial process: the only part of the engine that imports torch and Lightning."""
