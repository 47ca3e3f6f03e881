"""What may be asked, and what is answered: the OpenAI API's shapes, and laconic's own field in them."""
