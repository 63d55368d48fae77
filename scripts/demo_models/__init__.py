"""How the demo models are made: synthetic speech in, small models out. See README.md here."""
