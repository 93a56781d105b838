"""What computes data/, one script per dataset; `grid` says what is trained, `expressivity` trains it."""
