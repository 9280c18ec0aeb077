"""The project's own Lightning modules and data modules, which are also examples to copy for yours."""
