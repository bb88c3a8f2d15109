"""A demonstration: real agents, a real service that judges them, and Turgor between the two."""
