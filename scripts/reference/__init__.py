"""What the scripts and tests measure qconv against: ggml itself, and the data to try it on."""
