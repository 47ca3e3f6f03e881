"""Kernels in C, compiled on the machine that runs them; where that cannot be, PyTorch's own are used."""
