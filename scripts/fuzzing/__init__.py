"""What ``scripts/fuzz`` is made of: targets, seeds, and mutations that keep a file's form."""
