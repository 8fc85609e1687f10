"""An MLP-Mixer as encoder and decoder."""
