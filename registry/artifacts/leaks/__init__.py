"""What the header and the side files of an adapter tell about people, machines and data."""
