"""What a type checker says of code, and annotations that it lets us infer."""
