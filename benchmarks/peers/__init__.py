"""What is measured: each peer a small file, written as its own documentation shows it."""
