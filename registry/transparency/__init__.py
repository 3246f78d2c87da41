"""RFC 6962 tree and C2SP log over a node store that somebody else keeps."""
