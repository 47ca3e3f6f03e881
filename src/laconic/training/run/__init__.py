"""``laconic train``: a recipe in, a model that thinks less out. The trainers are TRL's."""
