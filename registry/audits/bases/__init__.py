"""The cache of a base model's weights, and how large and how strange an update is beside them."""
