"""What code could do without: what is dead, said twice, or said in a roundabout way."""
