"""Values and conditions that follow from a config; each module registers what it defines."""
