"""Other engines, measured in the same run: same checkpoint, same prompt ids, same token counter."""
