"""Which rows of data are kept, a file each."""
