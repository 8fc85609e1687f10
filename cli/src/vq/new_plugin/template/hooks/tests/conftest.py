pytest_plugins = ["vq.testing"]  # for the fixture train_tiny
