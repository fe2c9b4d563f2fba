"""What ``scripts/bench convert`` is made of: measuring, the contestants, checkpoints to convert, the growth plot."""
