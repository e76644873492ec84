"""What is measured on a pair of LQ and GT image."""
