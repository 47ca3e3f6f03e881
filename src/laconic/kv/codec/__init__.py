"""How entries are stored in fewer bits, a file a method; what is stored is what takes the bytes."""
