"""A trained model as two programs that need none of this code: pictures to indices, and indices to pictures."""
