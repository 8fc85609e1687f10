"""Completion in a shell: ``line`` reads what stands before the cursor, ``candidates`` says what may
follow, ``shells`` speaks with bash, zsh and fish. Neither torch nor a model of options is imported.
"""
