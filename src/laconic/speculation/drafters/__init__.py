"""Where guesses come from: nothing, copied text, counted text, or a smaller model."""
