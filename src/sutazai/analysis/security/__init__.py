"""What a look at a whole project finds beyond what each file shows by itself."""
