"""Work on video files, with FFmpeg's libraries. Only `prepare` and `finish` have it."""
