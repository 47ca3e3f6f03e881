"""Teaching a model to need fewer tokens: length-aware rewards, one file each, and what scores them."""
