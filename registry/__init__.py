"""Library of LoRASeal: what an adapter is and what is known of it. Opens no socket; only its cli prints."""
