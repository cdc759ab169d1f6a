"""This machine: errors, paths, devices, memory, processes, and what is shown on a terminal."""
