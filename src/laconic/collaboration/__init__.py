"""Which of two models writes the next step of a thought."""
