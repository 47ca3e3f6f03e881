"""All entries stay, and a query reads those that promise most."""
