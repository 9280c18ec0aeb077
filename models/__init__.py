"""Lightning modules and data modules: the project's own, and the example to copy for yours."""
