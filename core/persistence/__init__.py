"""Databases of the data folder: order journal and store. Each file has one writer thread."""
