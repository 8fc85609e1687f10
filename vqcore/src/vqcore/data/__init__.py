"""What data sets share: splits held in memory or read by worker processes, and augmentation."""
