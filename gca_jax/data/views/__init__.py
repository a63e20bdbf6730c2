"""Two augmented views of a batch of images, on the device."""
