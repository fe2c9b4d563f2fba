"""What single architectures need beyond their tables, one module each, named by the table."""
