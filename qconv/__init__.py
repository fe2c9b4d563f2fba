"""qconv: Hugging Face checkpoints to quantized GGUF files in one pass."""
