"""What happened: the views of a realm that people look at."""
