"""Words that make a thought shorter: in the question, written into the thought, or forbidden to it."""
