"""The command line: arguments into types, results into text. It makes no decisions of its own."""
