"""What makes a program slow: where it is complex, and where its time goes when it is run."""
